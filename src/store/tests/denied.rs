//! The rows of the deny list: what a start reads of them, and when they are removed.

use super::{DENY, INSTALLATION, Memory, at, event, ids, new_account, opened, runtime, session, user};
use crate::{
    domain::{AddressPrefix, Clock, TokenId, TokenIds},
    store::{
        Authority, Deny, DenyListRows, ExpiredEntries, Store,
        engine::conformance::put,
        schema::{self, INSTANCE, Instance},
    },
};

/// A start learns all revocations from the rows alone, and the rows are removed once they have expired.
#[test]
fn rev_3_rev_9_the_deny_list_is_read_back_and_a_row_written_anew_is_not_forgotten() {
    runtime().block_on(async {
        let memory = Memory::default();
        let (store, _) = opened(Box::new(memory.clone())).await;
        let ada = user(1, "ada@example.org", "admin");
        store.create_account(new_account(&ada, None)).await.expect("created");
        assert_eq!(store.deny_list(at(0), at(0)).await.expect("readable"), DenyListRows::default(), "nothing was revoked");
        let until = |seconds| Deny { until: at(seconds), lifetime: DENY.lifetime, not_before: None };
        store.end_all(ada.id, Authority::Operator, until(100), event()).await.expect("works");
        store.end_all(ada.id, Authority::Operator, until(50), event()).await.expect("works");
        let kept = DenyListRows { users: vec![(ada.id, 3, at(100))], ..DenyListRows::default() };
        assert_eq!(store.deny_list(at(0), at(0)).await.expect("readable"), kept, "the greater version, the later moment");
        // The entry dropped in memory was written again by another operation meanwhile.
        store.forget(ExpiredEntries { users: vec![(ada.id, at(99))], ..ExpiredEntries::default() }).await.expect("works");
        assert_eq!(store.deny_list(at(0), at(0)).await.expect("readable"), kept);
        store.forget(ExpiredEntries { users: vec![(ada.id, at(100))], ..ExpiredEntries::default() }).await.expect("works");
        assert_eq!(store.deny_list(at(0), at(0)).await.expect("readable"), DenyListRows::default());
    });
}

#[test]
fn rev_6_a_full_list_is_replaced_by_one_moment() {
    runtime().block_on(async {
        let (store, _) = opened(Box::new(Memory::default())).await;
        let ada = user(1, "ada@example.org", "admin");
        let first = session(1, ada.id, at(1));
        store.create_account(new_account(&ada, Some(&first))).await.expect("created");
        let full = Deny { until: at(900), lifetime: DENY.lifetime, not_before: Some(at(10)) };
        store.end_session(first.id, None, Authority::Operator, full, event()).await.expect("works");
        store.end_all(ada.id, Authority::Operator, Deny { not_before: Some(at(9)), ..full }, event()).await.expect("works");
        let denied = store.deny_list(at(0), at(0)).await.expect("readable");
        assert_eq!(denied, DenyListRows { not_before: Some((at(10), at(900))), ..DenyListRows::default() }, "the later of both");
    });
}

/// Whoever has collected many tokens of one session could otherwise fill the list with them.
#[test]
fn rev_6_a_token_that_is_void_already_takes_no_room_in_the_list() {
    runtime().block_on(async {
        let (store, _) = opened(Box::new(Memory::default())).await;
        let ada = user(1, "ada@example.org", "admin");
        let sessions = [1, 2].map(|n| session(n, ada.id, at(1)));
        store.create_account(new_account(&ada, Some(&sessions[0]))).await.expect("created");
        let of = |n: usize, version| TokenIds { user: ada.id, session: sessions[n].id, version, ..ids(TokenId::from_bytes([9; 16])) };
        let logout = |n: usize, token| store.logout(vec![sessions[n].id], Some(token), AddressPrefix::V6(1), DENY);
        let tokens = async || store.deny_list(at(0), at(0)).await.expect("readable").tokens.len();
        for _ in 0..3 {
            logout(0, of(0, 1)).await.expect("works");
        }
        assert_eq!(tokens().await, 0, "its session was revoked");
        logout(1, of(1, 1)).await.expect("works");
        assert_eq!(tokens().await, 1, "its session is unknown, so nothing else revokes it");
        store.end_all(ada.id, Authority::Operator, DENY, event()).await.expect("works");
        logout(1, TokenIds { token: TokenId::from_bytes([8; 16]), ..of(1, 1) }).await.expect("works");
        assert_eq!(tokens().await, 1, "it is of a version that is void");
    });
}

#[test]
fn sto_9_a_damaged_row_of_the_deny_list_revokes_more_and_never_less() {
    runtime().block_on(async {
        let memory = Memory::default();
        let (store, _) = opened(Box::new(memory.clone())).await;
        let ada = user(1, "ada@example.org", "admin");
        let first = session(1, ada.id, at(1));
        store.create_account(new_account(&ada, Some(&first))).await.expect("created");
        store.logout(vec![first.id], Some(ids(TokenId::from_bytes([3; 16]))), AddressPrefix::V6(1), DENY).await.expect("works");
        store.end_all(ada.id, Authority::Operator, DENY, event()).await.expect("works");
        [b'd', b'r', b'j'].into_iter().for_each(|prefix| memory.damage(prefix));
        let denied = store.deny_list(at(5), at(900)).await.expect("readable");
        assert_eq!(denied.users, [(ada.id, 2, at(900))], "as the account has it");
        assert_eq!(denied.sessions, [(first.id, at(900))]);
        assert_eq!(denied.tokens, [(TokenId::from_bytes([3; 16]), at(900))]);
        assert_eq!(denied.not_before, None);
        // The key cannot be read, so the revocation may concern any user.
        put(&memory, &[b'r', 1], b"damaged");
        let denied = store.deny_list(at(5), at(900)).await.expect("readable");
        assert_eq!(denied.not_before, Some((at(5), at(900))));
    });
}

#[test]
fn a_database_of_schema_1_is_brought_up_and_voids_the_tokens_it_could_not_list() {
    runtime().block_on(async {
        let memory = Memory::default();
        let (store, _) = opened(Box::new(memory.clone())).await;
        let old = Instance { schema: 1, id: INSTALLATION, created_at: at(0) };
        store
            .transact(move |t| {
                t.tx.put(b"b".to_vec(), b"progress".to_vec());
                INSTANCE.put(t.tx, &(), &old)
            })
            .await
            .expect("as an earlier release wrote it");
        let store = Store::open(Box::new(memory.clone()), INSTALLATION, Clock::default(), vec![]).await.expect("known");
        store.migrate(at(5), at(900)).await.expect("brought up");
        let store = Store::open(Box::new(memory), INSTALLATION, Clock::default(), vec![]).await.expect("known");
        assert_eq!(store.schema, schema::VERSION);
        assert_eq!(store.deny_list(at(6), at(901)).await.expect("readable").not_before, Some((at(5), at(900))));
        assert_eq!(store.check().await.expect("checked").violations, Vec::<String>::new());
    });
}
