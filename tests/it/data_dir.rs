//! Data directories that others created: their owner, their permissions, and what their file system supports.

use crate::support::{PASSWORD, doorward, run};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::{Child, Command, Output, Stdio},
};

/// The user `nobody`, and a user id without a name.
const OWNER: u32 = 65534;
const STRANGER: u32 = 54321;

/// A directory that all users can reach. `None` if this is not root, who alone can act as other users.
fn shared_directory() -> Option<tempfile::TempDir> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: users cannot be played here");
        return None;
    }
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("opened");
    Some(dir)
}

fn make(path: &Path, owner: u32, mode: u32) {
    fs::create_dir(path).expect("made");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
    chown(path, Some(owner), Some(owner)).expect("given away");
}

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let settings = ["insecure_dev=true", "passwords.scrypt_log_n=4", "passwords.scrypt_p=1"].map(str::to_owned);
    let mut command = doorward(dir, &settings, &[]);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn by(uid: u32, mut command: Command) -> Command {
    command.uid(uid).gid(uid);
    command
}

/// Starts a server and stops it once it is up. Returns its log.
fn up_and_down(mut command: Command) -> String {
    use std::io::{BufRead, BufReader, Read};
    let mut child: Child = command.spawn().expect("spawned");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("signalled");
    let mut log = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
    assert!(child.wait().expect("ended").success() && line.starts_with("listening on "), "{log}");
    log
}

#[track_caller]
fn refuses(output: &Output, code: i32, words: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
}

/// A directory and everything below it: path, owner and mode.
fn everything(path: &Path) -> Vec<(String, u32, u32)> {
    let meta = fs::symlink_metadata(path).expect("there");
    let mut found = vec![(path.display().to_string(), meta.uid(), meta.mode() & 0o7777)];
    if meta.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            found.extend(everything(&entry.expect("an entry").path()));
        }
    }
    found
}

#[test]
fn sto_11_root_works_on_the_data_of_another_user_as_that_user() {
    let Some(dir) = shared_directory() else { return };
    let data = dir.path().join("data");
    make(&data, OWNER, 0o700);
    let log = up_and_down(command(dir.path(), &[]));
    assert_eq!(log.matches("working as").count(), 1, "{log}");
    assert!(log.contains("(uid 65534)"), "{log}");
    for (arguments, stdin) in
        [(vec!["user", "add", "ada@example.org"], PASSWORD), (vec!["user", "list"], ""), (vec!["check"], ""), (vec!["setup-link"], "")]
    {
        let output = run(&mut command(dir.path(), &arguments), stdin);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        for (name, uid, _) in everything(&data) {
            assert_eq!(uid, OWNER, "{arguments:?}: {name}");
        }
    }
    // The owner can then use the directory.
    up_and_down(by(OWNER, command(dir.path(), &[])));
}

#[test]
fn sto_11_nobody_but_the_owner_and_root_gets_as_far_as_opening_anything() {
    let Some(dir) = shared_directory() else { return };
    let data = dir.path().join("data");
    make(&data, OWNER, 0o777);
    for arguments in [&[][..], &["user", "list"], &["check"], &["setup-link"]] {
        let output = by(STRANGER, command(dir.path(), arguments)).output().expect("ran");
        refuses(&output, 78, &["belongs to", "(uid 65534)", "this is uid 54321", "run it as"]);
        assert_eq!(everything(&data).len(), 1, "{arguments:?} left something");
    }
}

/// A data directory that does not exist is created as the owner of its parent, with their group and not root's.
#[test]
fn sto_11_root_makes_nothing_of_its_own_in_another_users_place() {
    let Some(dir) = shared_directory() else { return };
    let home = dir.path().join("home");
    make(&home, STRANGER, 0o755);
    chown(&home, None, Some(0)).expect("its group is root's");
    let log = up_and_down(command(&home, &[]));
    assert_eq!(log.matches("working as").count(), 1, "{log}");
    let made = fs::metadata(home.join("data")).expect("made");
    assert_eq!((made.uid(), made.gid()), (STRANGER, STRANGER));
}

#[test]
fn sto_11_root_follows_no_way_that_another_user_could_change() {
    let Some(dir) = shared_directory() else { return };
    let (home, victim) = (dir.path().join("home"), dir.path().join("victim"));
    make(&home, OWNER, 0o755);
    make(&victim, 0, 0o755);
    std::os::unix::fs::symlink(&victim, home.join("link")).expect("linked");
    make(&dir.path().join("open"), 0, 0o777);
    make(&dir.path().join("grouped"), 0, 0o775);
    chown(dir.path().join("grouped"), None, Some(STRANGER)).expect("given away");
    for (name, mode) in [("sticky", 0o1777), ("busy", 0o755)] {
        make(&dir.path().join(name), 0, mode);
        fs::write(dir.path().join(name).join("hosts"), "of somebody's").expect("written");
    }
    fs::create_dir(dir.path().join("busy/db")).expect("another program's");
    std::os::unix::fs::symlink(&victim, dir.path().join("sticky/db")).expect("planted");
    std::os::unix::fs::lchown(dir.path().join("sticky/db"), Some(OWNER), Some(OWNER)).expect("theirs");
    for (data, words) in [
        ("home/link", ["home", "belongs to", "(uid 65534)"]),
        ("home/link/data", ["home", "belongs to", "(uid 65534)"]),
        ("home/../victim/../home/link", ["home", "belongs to", "(uid 65534)"]),
        ("open/data", ["open", "everybody", "chmod o-w"]),
        ("grouped/data", ["grouped", "its group", "chmod g-w"]),
        ("sticky", ["sticky", "others use it", "sticky/doorward"]),
        ("busy", ["busy", "hosts in it is not of ours", "busy/doorward"]),
    ] {
        let data = dir.path().join(data);
        for arguments in [&["serve"][..], &["user", "add", "ada@example.org"]] {
            let mut command = command(dir.path(), arguments);
            command.arg("--data-dir").arg(&data);
            refuses(&run(&mut command, PASSWORD), 78, &words);
        }
    }
    assert_eq!(everything(&victim).len(), 1, "nothing was made");
    assert_eq!(fs::metadata(&victim).expect("there").mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(dir.path().join("sticky")).expect("there").mode() & 0o7777, 0o1777);
    // A link that belongs to root and leads to a directory of root is followed.
    std::os::unix::fs::symlink(&victim, dir.path().join("mine")).expect("linked");
    let mut own = command(dir.path(), &[]);
    own.arg("--data-dir").arg(dir.path().join("mine"));
    up_and_down(own);
}

#[test]
fn sto_11_a_link_in_a_data_directory_takes_nothing_from_what_it_leads_to() {
    let Some(dir) = shared_directory() else { return };
    let (data, elsewhere) = (dir.path().join("data"), dir.path().join("elsewhere"));
    up_and_down(command(dir.path(), &[]));
    make(&elsewhere, 0, 0o755);
    fs::write(elsewhere.join("precious"), "precious").expect("written");
    fs::set_permissions(elsewhere.join("precious"), Permissions::from_mode(0o644)).expect("set");
    std::os::unix::fs::symlink(&elsewhere, data.join("db/more")).expect("linked");
    std::os::unix::fs::symlink(elsewhere.join("precious"), data.join("marker.new")).expect("linked");
    up_and_down(command(dir.path(), &[]));
    assert_eq!(fs::metadata(&elsewhere).expect("there").mode() & 0o777, 0o755);
    let precious = elsewhere.join("precious");
    assert_eq!(fs::metadata(&precious).expect("there").mode() & 0o777, 0o644);
    assert_eq!(fs::read_to_string(&precious).expect("read"), "precious");
}

#[test]
fn sto_11_root_does_not_follow_another_users_settings_that_it_found() {
    let Some(dir) = shared_directory() else { return };
    let (home, elsewhere) = (dir.path().join("home"), dir.path().join("elsewhere"));
    make(&home, OWNER, 0o755);
    make(&elsewhere, 0, 0o755);
    let settings = home.join("config.toml");
    fs::write(&settings, format!("[server]\ndata_dir = \"{}\"\n", elsewhere.join("data").display())).expect("written");
    chown(&settings, Some(OWNER), Some(OWNER)).expect("given away");
    let binary = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
        command.current_dir(&home).args(["user", "add", "ada@example.org"]);
        command
    };
    refuses(&run(&mut binary(), PASSWORD), 78, &["config.toml", "belongs to", "(uid 65534)", "--config"]);
    assert_eq!(everything(&elsewhere).len(), 1);
    // A link of theirs to a settings file of root is not followed either.
    let roots = elsewhere.join("config.toml");
    fs::rename(&settings, &roots).expect("moved");
    chown(&roots, Some(0), Some(0)).expect("taken");
    std::os::unix::fs::symlink(&roots, &settings).expect("linked");
    std::os::unix::fs::lchown(&settings, Some(OWNER), Some(OWNER)).expect("theirs");
    refuses(&run(&mut binary(), PASSWORD), 78, &["config.toml", "belongs to", "(uid 65534)"]);
    fs::remove_file(&settings).expect("removed");
    fs::copy(&roots, &settings).expect("copied");
    // A settings file that everybody may write is refused.
    fs::set_permissions(&settings, Permissions::from_mode(0o666)).expect("set");
    refuses(&run(&mut binary(), PASSWORD), 78, &["config.toml", "mode 666"]);
    fs::remove_file(&roots).expect("removed");
    assert_eq!(everything(&elsewhere).len(), 1);
    fs::set_permissions(&settings, Permissions::from_mode(0o644)).expect("set");
    chown(&settings, Some(OWNER), Some(OWNER)).expect("given away");
    // The file is used if `--config` names it, or if the data belongs to the same user as the file.
    assert!(run(binary().arg("--config").arg(&settings), PASSWORD).status.success());
    fs::write(&settings, "[server]\ndata_dir = \"own\"\n").expect("written");
    assert!(run(&mut binary(), PASSWORD).status.success());
    assert_eq!(fs::metadata(home.join("own")).expect("made").uid(), OWNER);
}

#[test]
fn sto_11_a_file_of_another_user_is_named_with_its_owner() {
    let Some(dir) = shared_directory() else { return };
    let data = dir.path().join("data");
    make(&data, OWNER, 0o700);
    up_and_down(command(dir.path(), &[]));
    let foreign = data.join("db/conf");
    for owner in [0, STRANGER] {
        chown(&foreign, Some(owner), None).expect("given away");
        let output = by(OWNER, command(dir.path(), &[])).output().expect("ran");
        refuses(&output, 78, &[&foreign.display().to_string(), &format!("uid {owner}"), "chown"]);
    }
}

#[test]
fn sto_11_ops_2_what_others_could_get_at_is_taken_from_them_with_one_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    // The modes with which Docker, systemd and a kubelet create it.
    for mode in [0o755, 0o777, 0o2770] {
        fs::create_dir(&data).expect("made");
        fs::set_permissions(&data, Permissions::from_mode(mode)).expect("set");
        let log = up_and_down(command(dir.path(), &[]));
        assert!(log.contains(&format!("(mode {:o})", mode & 0o777)), "{log}");
        // The modes that a kubelet sets at the next mount.
        for (name, _, _) in everything(&data) {
            let mode = if Path::new(&name).is_dir() { 0o2770 } else { 0o660 };
            fs::set_permissions(&name, Permissions::from_mode(mode)).expect("set");
        }
        let log = up_and_down(command(dir.path(), &[]));
        assert_eq!(log.matches("others could get at these").count(), 1, "{log}");
        for (name, _, mode) in everything(&data) {
            assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
        }
        let log = up_and_down(command(dir.path(), &[]));
        assert!(!log.contains("others could"), "{log}");
        fs::remove_dir_all(&data).expect("removed");
    }
}

#[test]
fn a_reading_command_makes_no_installation() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("made");
    for arguments in [&["user", "list"][..], &["check"], &["session", "list", "ada@example.org"]] {
        refuses(&command(dir.path(), arguments).output().expect("ran"), 1, &["nothing is kept there yet"]);
        assert_eq!(everything(&data).len(), 1, "{arguments:?} left something");
    }
}

/// The command under strace, with a system call that fails. `None` if strace cannot run here.
fn failing(call: &str, how: &str, inner: &Command) -> Option<Command> {
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &format!("inject={call}:{how}")]);
    traced.arg(inner.get_program()).args(inner.get_args()).current_dir(inner.get_current_dir().expect("set"));
    traced.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let there = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success());
    there.then_some(traced)
}

#[test]
fn sto_10_only_a_lock_that_is_held_is_another_server() {
    let dir = tempfile::tempdir().expect("a directory");
    for (error, code, words) in [
        ("ENOLCK", 78, "this file system has no locks"),
        ("ENOSYS", 78, "this file system has no locks"),
        ("EOPNOTSUPP", 78, "this file system has no locks"),
        ("EIO", 74, "cannot be locked"),
        ("EAGAIN", 75, "in use by another doorward"),
    ] {
        let Some(mut traced) = failing("flock", &format!("error={error}"), &command(dir.path(), &[])) else { return };
        refuses(&traced.output().expect("ran"), code, &[words]);
    }
}

#[test]
fn a_server_serves_where_no_control_socket_can_be_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let deep = "d".repeat(110);
    let log = up_and_down(command(dir.path(), &["--data-dir", &deep]));
    let (hint, made) = (log.find("shorter server.data_dir"), log.find("a new installation"));
    assert!(hint.is_some_and(|hint| Some(hint) < made), "the hint comes before keys are made: {log}");
    assert!(log.contains("no control socket"), "{log}");
    // Without a control socket, commands open the data directory themselves.
    let output = run(&mut command(dir.path(), &["user", "list", "--data-dir", &deep]), "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let free = tempfile::tempdir().expect("a directory");
    // The first `bind` is for the port, the second for the control socket.
    if let Some(traced) = failing("bind", "error=EPERM:when=2", &command(free.path(), &[])) {
        let log = strace_up_and_down(traced);
        assert!(log.contains("no control socket") && !log.contains("shorter"), "{log}");
    }
}

/// Like [`up_and_down`], but the signal is sent to the child of strace, because strace does not pass it on.
fn strace_up_and_down(mut traced: Command) -> String {
    use std::io::{BufRead, BufReader, Read};
    let mut child = traced.spawn().expect("spawned");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
    let parent = child.id();
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).expect("children");
    for pid in children.split_whitespace() {
        let pid = Pid::from_raw(pid.parse().expect("a pid")).expect("a pid");
        kill_process(pid, Signal::TERM).expect("signalled");
    }
    let mut log = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
    child.wait().expect("ended");
    assert!(line.starts_with("listening on "), "{log}");
    log
}

/// Passwords are sent through the control socket, so only to a server of the same user.
#[test]
fn ops_4_sto_11_nothing_is_sent_to_a_socket_on_which_somebody_else_listens() {
    let Some(dir) = shared_directory() else { return };
    let data = dir.path().join("data");
    make(&data, OWNER, 0o700);
    // A server of root, whose socket somebody has linked to where ours would be.
    let theirs = tempfile::tempdir().expect("a directory");
    let mut stranger = command(theirs.path(), &[]).spawn().expect("spawned");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stranger.stdout.as_mut().expect("piped")), &mut line).expect("a line");
    let socket = data.join("control.sock");
    fs::hard_link(theirs.path().join("data/control.sock"), &socket).expect("linked");
    chown(&socket, Some(OWNER), Some(OWNER)).expect("given away");
    make_begun(&data);
    let output = run(&mut by(OWNER, command(dir.path(), &["user", "password", "ada@example.org"])), PASSWORD);
    refuses(&output, 78, &["control.sock", "nothing was sent"]);
    stranger.kill().expect("killed");
    stranger.wait().expect("ended");
}

/// Creates a keyring, so that the directory looks as after a first start and commands use it.
fn make_begun(data: &Path) {
    let keyring = data.join("keyring");
    fs::write(&keyring, "{}").expect("written");
    fs::set_permissions(&keyring, Permissions::from_mode(0o600)).expect("set");
    chown(&keyring, Some(OWNER), Some(OWNER)).expect("given away");
}
