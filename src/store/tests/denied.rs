//! The deny list's rows: what a start reads of them, and what becomes of them.

use super::{DENY, INSTALLATION, Memory, at, event, new_account, opened, runtime, session, user};
use crate::{
    domain::{AddressPrefix, TokenId},
    store::{
        Denied, Deny, Over, Store,
        engine::conformance::put,
        schema::{self, INSTANCE, Instance},
    },
};

/// What a start needs to know is told by the rows alone, and only while it can matter.
#[test]
fn rev_3_rev_9_the_deny_list_is_read_back_and_a_row_written_anew_is_not_forgotten() {
    runtime().block_on(async {
        let memory = Memory::default();
        let (store, _) = opened(Box::new(memory.clone())).await;
        let ada = user(1, "ada@example.org", "admin");
        store.create_account(new_account(&ada, None)).await.expect("created");
        assert_eq!(store.denied(at(0), at(0)).await.expect("readable"), Denied::default(), "nothing was revoked");
        let until = |seconds| Deny { until: at(seconds), not_before: None };
        store.end_all(ada.id, until(100), event()).await.expect("works");
        store.end_all(ada.id, until(50), event()).await.expect("works");
        let kept = Denied { users: vec![(ada.id, 3, at(100))], ..Denied::default() };
        assert_eq!(store.denied(at(0), at(0)).await.expect("readable"), kept, "the greater version, the later moment");
        // Memory dropped an entry that another verb has written anew meanwhile.
        store.forget(Over { users: vec![(ada.id, at(99))], ..Over::default() }).await.expect("works");
        assert_eq!(store.denied(at(0), at(0)).await.expect("readable"), kept);
        store.forget(Over { users: vec![(ada.id, at(100))], ..Over::default() }).await.expect("works");
        assert_eq!(store.denied(at(0), at(0)).await.expect("readable"), Denied::default());
    });
}

#[test]
fn rev_6_a_full_list_is_replaced_by_one_moment() {
    runtime().block_on(async {
        let (store, _) = opened(Box::new(Memory::default())).await;
        let ada = user(1, "ada@example.org", "admin");
        let first = session(1, ada.id, at(1));
        store.create_account(new_account(&ada, Some(&first))).await.expect("created");
        let full = Deny { until: at(900), not_before: Some(at(10)) };
        store.end_session(first.id, None, full, event()).await.expect("works");
        store.end_all(ada.id, Deny { not_before: Some(at(9)), ..full }, event()).await.expect("works");
        let denied = store.denied(at(0), at(0)).await.expect("readable");
        assert_eq!(denied, Denied { not_before: Some((at(10), at(900))), ..Denied::default() }, "the later of both");
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
        store.logout(vec![first.id], Some(TokenId::from_bytes([3; 16])), AddressPrefix::V6(1), DENY).await.expect("works");
        store.end_all(ada.id, DENY, event()).await.expect("works");
        [b'd', b'r', b'j'].into_iter().for_each(|prefix| memory.damage(prefix));
        let denied = store.denied(at(5), at(900)).await.expect("readable");
        assert_eq!(denied.users, [(ada.id, 2, at(900))], "as the account has it");
        assert_eq!(denied.sessions, [(first.id, at(900))]);
        assert_eq!(denied.tokens, [(TokenId::from_bytes([3; 16]), at(900))]);
        assert_eq!(denied.not_before, None);
        // Whose it was is not to be read: it may be anybody's.
        put(&memory, &[b'r', 1], b"damaged");
        let denied = store.denied(at(5), at(900)).await.expect("readable");
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
        let store = Store::open(Box::new(memory.clone()), INSTALLATION, vec![]).await.expect("known");
        store.migrate(at(5), at(900)).await.expect("brought up");
        let store = Store::open(Box::new(memory), INSTALLATION, vec![]).await.expect("known");
        assert_eq!(store.schema, schema::VERSION);
        assert_eq!(store.denied(at(6), at(901)).await.expect("readable").not_before, Some((at(5), at(900))));
        assert_eq!(store.check().await.expect("checked").violations, Vec::<String>::new());
    });
}
