//! The bytes of every record, in each version that a release has written.

use super::*;
use crate::{
    domain::*,
    store::{
        Error,
        record::{Record, decode_row, encode_row},
    },
};
use data_encoding::HEXLOWER;
use std::{fmt::Debug, net::IpAddr, sync::Arc};

const KEY: &[u8] = b"key";

/// The bytes of every record in each version. Lines are never edited: a new version adds one.
const GOLDEN: &str = include_str!("../../../tests/golden/records.txt");

/// The lines of versions that are read but no longer written.
const OLD: [&str; 4] = ["user", "user.2", "session", "invite"];

/// Checks that the bytes of an earlier release are read as this record.
fn was<R: Record + PartialEq + Debug>(name: &str, record: &R) {
    let text = GOLDEN.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).expect("a golden line");
    let bytes = HEXLOWER.decode(text.as_bytes()).expect("hex digits");
    assert_eq!(&decode_row::<R>(KEY, &bytes).expect("still readable"), record);
    refuses_damage::<R>(&bytes);
}

/// The line of a record, after checking that its bytes are read back and that damage is noticed.
fn line<R: Record + PartialEq + Debug>(name: &str, record: &R) -> String {
    let bytes = encode_row(KEY, record).expect("encoded");
    assert_eq!(&decode_row::<R>(KEY, &bytes).expect("decoded"), record);
    refuses_damage::<R>(&bytes);
    format!("{name} {}\n", HEXLOWER.encode(&bytes))
}

/// STO-9: with any bit flipped, cut anywhere, or under another key, the bytes are an error and never a record.
fn refuses_damage<R: Record + Debug>(bytes: &[u8]) {
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(decode_row::<R>(KEY, &damaged), Err(Error::Corrupt(_))), "bit {bit} flipped");
    }
    for len in 0..bytes.len() {
        assert!(matches!(decode_row::<R>(KEY, &bytes[..len]), Err(Error::Corrupt(_))), "cut to {len}");
    }
    assert!(matches!(decode_row::<R>(b"yek", bytes), Err(Error::Corrupt(_))), "under another key");
}

#[test]
fn sto_9_records_keep_their_bytes_and_show_every_damage() {
    let at = Timestamp::from_millis(1_700_000_000_123);
    let mut lines = String::new();
    lines += &line("instance", &Instance { schema: 1, id: [7; 16], created_at: at });
    lines += &line("setup", &Setup { token_hash: [9; 32], expires_at: at });
    let user = User {
        kind: UserKind::Person,
        id: UserId::from_bytes([1; 16]),
        email: "ada@example.org".parse().expect("an address"),
        password_hash: "$scrypt$ln=15,r=8,p=3$c2FsdA$aGFzaA".into(),
        role: Role::admin(),
        disabled: false,
        email_verified: true,
        token_version: 300,
        epoch: 7,
        created_at: at,
    };
    lines += &line("user.3", &user);
    was("user.2", &user);
    was("user", &User { email_verified: false, epoch: 0, ..user });
    let session = Session {
        id: SessionId::from_bytes([2; 16]),
        user: UserId::from_bytes([1; 16]),
        transport: Transport::Body,
        generation: 70_000,
        token_hash: [3; 32],
        hash_key: "h1".into(),
        token_key: "t1".into(),
        created_at: at,
        refreshed_at: at,
        expires_at: at,
        ends_at: at,
        sweep_at: at,
        replaced_at: vec![at, Timestamp::from_millis(1)],
        replays: 2,
        retry_key: Some([6; 32]),
        auth_time: Timestamp::from_millis(1_700_000_000_001),
        methods: vec![AuthMethod::Password],
        client: Client { ip: IpAddr::from([192, 0, 2, 1]), user_agent: "curl/8".into() },
    };
    lines += &line("session.2", &session);
    was("session", &Session { retry_key: None, auth_time: session.created_at, ..session });
    let invite = Invite {
        id: InviteId::from_bytes([4; 16]),
        code_hash: [5; 32],
        role: Role::admin(),
        email: Some("ada@example.org".parse().expect("an address")),
        created_by: UserId::from_bytes([1; 16]),
        maker_epoch: 7,
        created_at: at,
        expires_at: at,
    };
    lines += &line("invite.2", &invite);
    was("invite", &Invite { email: None, maker_epoch: 0, ..invite });
    let key = ApiKey {
        id: ApiKeyId::from_bytes([7; 16]),
        owner: UserId::from_bytes([1; 16]),
        name: "backup".into(),
        start: "dwk_Ab3d".into(),
        permissions: ["articles:read", "files:*"].map(|p| Permission::try_from(p.to_owned()).expect("a permission")).into(),
        apps: Arc::from(["wiki".parse().expect("a name")]),
        hash: [8; 32],
        replaced: Some(ReplacedSecret { hash: [9; 32], until: at }),
        made_in: Some(crate::domain::MadeIn { session: SessionId::from_bytes([2; 16]), generation: 300 }),
        created_at: at,
        expires_at: Some(at),
        last_used_at: None,
        revision: 300,
    };
    lines += &line("api_key", &key);
    let event = Event::new(Kind::LoginFailed, By::Anyone)
        .target(UserId::from_bytes([1; 16]))
        .session(SessionId::from_bytes([2; 16]))
        .account("0011".into())
        .from(AddressPrefix::V6(7));
    lines += &line("event", &(at, event));
    lines += &line("user_id", &UserId::from_bytes([1; 16]));
    lines += &line("void_tokens", &VoidTokens { least_version: 300, until: at });
    lines += &line("not_before", &NotBefore { moment: at, until: Timestamp::from_millis(1_700_000_960_123) });
    lines += &line("timestamp", &at);
    lines += &line("unit", &());
    let todays: Vec<_> = GOLDEN.lines().filter(|line| !OLD.iter().any(|name| line.starts_with(&format!("{name} ")))).collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), todays);
}

#[test]
fn a_later_version_is_an_error_never_a_guess() {
    let mut bytes = vec![2, 1];
    bytes.extend(
        [KEY, &bytes]
            .concat()
            .iter()
            .fold(crc32fast::Hasher::new(), |mut h, b| {
                h.update(&[*b]);
                h
            })
            .finalize()
            .to_le_bytes(),
    );
    let error = decode_row::<Timestamp>(KEY, &bytes).expect_err("version 2 is unknown");
    assert!(error.to_string().contains("version 2"), "{error}");
}

/// Checks that any bytes are either an error or a record that can be written and read back unchanged.
fn reads_back<R: Record + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(record) = decode_row::<R>(KEY, bytes) {
        let again = encode_row(KEY, &record).expect("encoded");
        assert_eq!(decode_row::<R>(KEY, &again).expect("decoded"), record);
    }
}

proptest::proptest! {
    #[test]
    fn sto_9_no_bytes_under_a_right_checksum_make_reading_a_record_panic(
        version in 0_u8..4,
        payload in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
    ) {
        let mut bytes = vec![version];
        bytes.extend(payload);
        bytes.extend(crc32fast::hash(&[KEY, &bytes].concat()).to_le_bytes());
        reads_back::<Instance>(&bytes);
        reads_back::<Setup>(&bytes);
        reads_back::<User>(&bytes);
        reads_back::<Session>(&bytes);
        reads_back::<Invite>(&bytes);
        reads_back::<ApiKey>(&bytes);
        reads_back::<(Timestamp, Event)>(&bytes);
        reads_back::<VoidTokens>(&bytes);
        reads_back::<NotBefore>(&bytes);
        reads_back::<Timestamp>(&bytes);
        reads_back::<UserId>(&bytes);
        reads_back::<()>(&bytes);
    }
}
