use super::{
    path::{Folded, is_plain},
    *,
};

fn app(name: &str, origin: &str) -> App {
    App {
        name: name.parse().expect("a name"),
        origin: AppOrigin::new(origin).expect("an origin"),
        rule: Rule { roles: None, permission: None },
        paths: Vec::new(),
        public: Vec::new(),
        takes_keys: true,
        takes_basic: false,
        takes_unverified: false,
        trusted_origins: Vec::new(),
    }
}

fn role(name: &str) -> Role {
    name.parse().expect("a role")
}

fn user(name: &str) -> User {
    User { role: role(name), email_verified: true, ..User::example() }
}

/// Other spellings of `/admin`, as servers that decode, resolve or fold may read them.
const SPELLINGS: [&str; 31] = [
    "/admin",
    "/admin/",
    "/administrator",
    "//admin",
    "/./admin",
    "/x/../admin",
    "/%61dmin",
    "/%2561dmin",
    "/x/..%2fadmin",
    "/x%2f..%2fadmin",
    "/x%5c..%5cadmin",
    "/x\\..\\admin",
    "/ADMIN",
    "/aDmIn/users",
    "/admin;x=1",
    "/;x/admin",
    "/%2e/admin",
    "/%2E%2E/admin",
    "/admin%00",
    "/admin%3f",
    "/%ef%bd%81dmin",
    "/%C4%81dmin",
    "/a%CC%81dmin",
    "/x/%E2%80%A5/admin",
    "/x/%EF%BC%8E%EF%BC%8E/admin",
    "/%EF%BC%8561dmin",
    "/%E2%80%8Badmin",
    "/ad%E2%9C%93min",
    "/x/.%E2%80%8B./admin",
    "/adm%C4%B1n",
    "/%c0%afadmin",
];

#[test]
fn gate_14_no_spelling_of_a_closed_path_gets_around_its_rule() {
    let mut app = app("wiki", "https://wiki.example.org");
    app.paths = vec![PathRule { prefix: "/admin".into(), rule: Rule { roles: Some(vec![Role::admin()]), permission: None } }];
    let roles = Roles::default();
    for path in SPELLINGS {
        let refused = app.admit_to(path, Standing::of(&user("viewer")), &roles).expect_err(path);
        assert_eq!(refused, Refused { missing: Missing::Role(vec![Role::admin()]), prefix: Some("/admin") }, "{path}");
        assert_eq!(app.admit_to(path, Standing::of(&user("admin")), &roles), Ok(()), "{path}");
    }
    // What is unusual and can be read in one way alone stays open.
    for path in [
        "/",
        "/Users/Me",
        "/a%20b.txt",
        "/caf%C3%A9/menu",
        "/%C3%9Cbersicht",
        "/%E2%9C%93/x",
        "/wiki/administration",
        "/a.b/c~d",
        "/x/",
        "/a%2Bb",
    ] {
        assert_eq!(app.admit_to(path, Standing::of(&user("viewer")), &roles), Ok(()), "{path}");
    }
    // However deep it is escaped, judging it takes no longer.
    let nested = format!("/%{}61dmin", "25".repeat(8000));
    assert!(app.admit_to(&nested, Standing::of(&user("viewer")), &roles).is_err());
}

#[test]
fn a_path_that_can_be_read_in_several_ways_must_satisfy_every_rule() {
    let mut app = app("wiki", "https://wiki.example.org");
    let part =
        |prefix: &str, name: &str| PathRule { prefix: prefix.into(), rule: Rule { roles: Some(vec![role(name)]), permission: None } };
    app.paths = vec![part("/edit", "editor"), part("/view/all", "viewer")];
    let roles = Roles::default();
    assert_eq!(app.admit_to("/edit/page", Standing::of(&user("editor")), &roles), Ok(()));
    assert_eq!(app.admit_to("/view/one", Standing::of(&user("editor")), &roles), Ok(()));
    assert!(app.admit_to("/view/all", Standing::of(&user("editor")), &roles).is_err());
    assert!(app.admit_to("/x/../edit", Standing::of(&user("editor")), &roles).is_err(), "it may be below /view/all as well");
    // What some take for plain letters counts as those.
    assert!(app.admit_to("/%ef%bd%85dit", Standing::of(&user("viewer")), &roles).is_err());
    assert_eq!(app.admit_to("/files/%C3%BC.txt", Standing::of(&user("nobody")), &roles), Ok(()));
}

#[test]
fn gate_15_an_entry_opens_its_path_byte_for_byte_and_nothing_beside_it() {
    let mut app = app("wiki", "https://wiki.example.org");
    app.public = ["/manifest.json", "/share/*", "POST /hooks/*", "OPTIONS /*"].map(|entry| entry.parse().expect("an entry")).to_vec();
    let opens = |method, path| app.public_entry(method, path).is_some();
    assert!(opens("GET", "/manifest.json") && opens("HEAD", "/manifest.json"));
    assert!(opens("GET", "/share/a/b") && opens("GET", "/share/") && opens("POST", "/hooks/x") && opens("OPTIONS", "/any"));
    for (method, path) in [
        ("POST", "/manifest.json"),
        ("get", "/manifest.json"),
        ("GET", "/Manifest.json"),
        ("GET", "/manifest.json/"),
        ("GET", "/manifest.jsonx"),
        ("GET", "/%6danifest.json"),
        ("GET", "//manifest.json"),
        ("GET", "/share"),
        ("GET", "/share/../secret"),
        ("GET", "/share/..%2fsecret"),
        ("GET", "/share/%2e%2e/secret"),
        ("GET", "/share/x;y"),
        ("GET", "/share//x"),
        ("GET", "/share/./x"),
        ("GET", "/share/x\\..\\y"),
        ("GET", "/share/%20"),
        ("GET", "/share/ä"),
        ("GET", "/hooks/x"),
        ("PUT", "/hooks/x"),
        ("OPTIONS", "/any%20"),
    ] {
        assert!(!opens(method, path), "{method} {path}");
    }
}

#[test]
fn entries_that_open_too_much_or_say_nothing_clear_are_refused() {
    let parse = |text: &str| text.parse::<Public>().map_err(|error| error.to_string());
    for (text, opens_everything) in [("/*", true), ("GET /*", true), ("POST /*", true), ("share", false), ("/sha*", false)] {
        assert_eq!(parse(text).expect_err(text).contains("whole app"), opens_everything, "{text}");
    }
    for text in ["", "/a b", "get /x", "* /x", "GET  /x", "/a/../b", "/%61", "/*/x", "https://x/", "/a?b"] {
        assert!(parse(text).is_err(), "{text}");
    }
    let reaches = |text: &str, closed| parse(text).expect("an entry").reaches_into(closed);
    assert!(reaches("/admin/logo.svg", "/admin") && reaches("/Admin", "/admin") && reaches("/a/*", "/a/b"));
    assert!(!reaches("/share/*", "/admin") && !reaches("OPTIONS /*", "/admin"));
}

#[test]
fn gate_20_a_host_has_its_spellings_and_no_other_app_is_meant() {
    let gate = Gate::new(vec![
        app("a", "https://a.example.org"),
        app("b", "https://b.example.org:8443"),
        app("c", "http://localhost:8080"),
        app("six", "http://[::1]:8081"),
    ]);
    let found = |host: &str| gate.at_host(host).map(|app| app.name.as_str().to_owned());
    for (host, name) in [
        ("a.example.org", "a"),
        ("A.Example.ORG", "a"),
        ("a.example.org.", "a"),
        ("a.example.org:443", "a"),
        ("a.example.org.:443", "a"),
        ("b.example.org:8443", "b"),
        ("localhost:8080", "c"),
        ("[::1]:8081", "six"),
    ] {
        assert_eq!(found(host).as_deref(), Some(name), "{host}");
    }
    for host in [
        "",
        ".",
        "a.example.org..",
        "a.example.org:80",
        "a.example.org:8443",
        "a.example.org:",
        "a.example.org:x",
        "b.example.org",
        "b.example.org:443",
        "localhost",
        "a.example.org/",
        "a.example.org, b",
        " a.example.org",
        "x@a.example.org",
        "[::1]",
        "evil.example",
    ] {
        assert_eq!(found(host), None, "{host}");
    }
}

#[test]
fn an_origin_is_as_browsers_write_it() {
    for good in ["https://a.example.org", "https://a.example.org:8443", "http://127.0.0.1:8080", "http://[::1]:8080"] {
        assert_eq!(AppOrigin::new(good).expect(good).as_str(), good);
    }
    for bad in [
        "",
        "a.example.org",
        "https://a.example.org/",
        "https://A.example.org",
        "https://a.example.org:443",
        "https://*.example.org",
        "https://x@a.example.org",
        "https://a.example.org/x",
        "ftp://a",
        "https://a.example.org.",
    ] {
        assert_eq!(AppOrigin::new(bad), None, "{bad}");
    }
    let origin = AppOrigin::new("https://b.example.org:8443").expect("an origin");
    assert_eq!((origin.host(), origin.authority(), origin.port()), ("b.example.org", "b.example.org:8443", 8443));
}

#[test]
fn who_may_enter_is_who_has_role_and_permission_and_a_verified_address() {
    let roles = Roles::default();
    let mut app = app("wiki", "https://wiki.example.org");
    let unverified = User { email_verified: false, ..user("viewer") };
    assert_eq!(app.admit(Standing::of(&user("viewer")), &roles), Ok(()));
    assert_eq!(app.admit(Standing::of(&unverified), &roles), Err(Missing::VerifiedAddress));
    app.takes_unverified = true;
    assert_eq!(app.admit(Standing::of(&unverified), &roles), Ok(()));
    app.rule.roles = Some(vec![role("editor")]);
    assert_eq!(app.admit(Standing::of(&user("viewer")), &roles), Err(Missing::Role(vec![role("editor")])));
    assert_eq!(app.admit(Standing::of(&user("editor")), &roles), Ok(()));
    assert_eq!(app.admit(Standing::of(&user("admin")), &roles), Ok(()), "always");
    let write = Permission::exact("wiki:write").expect("a permission");
    app.rule.permission = Some(write.clone());
    assert_eq!(app.admit(Standing::of(&user("editor")), &roles), Err(Missing::Permission(write)), "both");
}

proptest::proptest! {
    #[test]
    fn folding_ends_and_what_is_plain_means_itself(path in "[ -~]{0,60}") {
        let folded = Folded::new(&path);
        if is_plain(&path) {
            let text = path.to_ascii_lowercase();
            assert!(folded.may_be_below(text.trim_end_matches('/')));
            assert!(!folded.may_be_below("/never/there"));
        }
    }

    #[test]
    fn no_path_with_a_closed_part_in_any_spelling_is_let_through(before in "(/[a-z./;%0-9]{0,6}){0,3}", after in "[a-z/%.;0-9]{0,6}") {
        // Whatever stands around it, a path that resolves to the closed part is closed.
        let path = format!("{before}/../../../../admin/{after}");
        assert!(Folded::new(&path).may_be_below("/admin"));
    }
}
