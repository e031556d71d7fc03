//! Fills a data directory with accounts and sessions through the store.

use doorward::{
    app::App,
    config::{Environment, Flags, OperatorSecrets, load},
    data::DataDir,
    domain::{AuthMethod, By, Client, Clock, Email, Event, Kind, Password, Role, Session, SessionId, Timestamp, Transport, User, UserId},
    store::{Created, Deny, NewAccount, RegistrationProof, Store, engine::sled::SledStorage},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use secrecy::SecretString;

/// The number of accounts created at the same time: twice a group commit, so that one group waits while another is written.
const CONCURRENCY: usize = 512;

/// Creates `count` users with the same password, each with a session unless `alone` is set, and the admin
/// `seed@bench.example`.
pub fn seed(flags: &Flags, count: u64, alone: bool) -> Result<(), Box<dyn std::error::Error>> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let settings = load(flags, &Environment::of_process())?.settings;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let app = App::open(&settings, &OperatorSecrets::read(&Environment::default(), settings.tokens.algorithm)?).await?;
        let password = Password::new(&SecretString::from(crate::peer::PASSWORD))?;
        let model = app.accounts().add("seed@bench.example".parse()?, password, Some(Role::admin())).await?;
        drop(app);
        let data_dir = DataDir::open(&settings.server.data_dir)?;
        let now = Clock::default().now();
        let store = data_dir
            .open_store(&SledStorage::new(data_dir.path(), 0), settings.tokens.algorithm, &Clock::default(), Vec::new())
            .await?
            .store;
        let ends_at = now.plus(settings.tokens.session_max_age);
        let progress = |number: u64| {
            if number.is_multiple_of(100_000) {
                eprintln!("{number} of {count} users");
            }
        };
        stream::iter(0..count)
            .map(|number| {
                progress(number);
                account(&store, &model, number, (!alone).then_some((now, ends_at)))
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    })
}

async fn account(
    store: &Store,
    model: &User,
    number: u64,
    session: Option<(Timestamp, Timestamp)>,
) -> Result<(), Box<dyn std::error::Error>> {
    // Addresses in no particular order, as in practice. The factor is odd, so each number gives another address.
    let email: Email = format!("{:08x}@bench.example", (number * 0x9e37_79b1) & 0xffff_ffff).parse()?;
    let user = User { id: UserId::random(), email, role: "viewer".parse()?, ..model.clone() };
    let session = session.map(|(now, ends_at)| session_of(user.id, now, ends_at));
    let deny = Deny { until: Timestamp::default(), lifetime: std::time::Duration::ZERO, not_before: None };
    let event = Event::new(Kind::Registered, By::User(user.id));
    let account = NewAccount { user, session, replaces: None, proof: RegistrationProof::Open, deny, event };
    match store.create_account(account).await? {
        Created::User(_) => Ok(()),
        other => Err(format!("user {number}: {other:?}").into()),
    }
}

/// A session of a user, in a browser.
pub fn session_of(user: UserId, now: Timestamp, ends_at: Timestamp) -> Session {
    Session {
        id: SessionId::random(),
        user,
        transport: Transport::Cookie,
        generation: 1,
        token_hash: [7; 32],
        hash_key: "0123456789abcdef".into(),
        token_key: "0123456789abcdef".into(),
        created_at: now,
        refreshed_at: now,
        expires_at: ends_at,
        ends_at,
        sweep_at: ends_at,
        replaced_at: Vec::new(),
        replays: 0,
        retry_key: None,
        auth_time: now,
        methods: vec![AuthMethod::Password],
        client: Client {
            ip: [192, 0, 2, 1].into(),
            user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0".into(),
        },
    }
}
