//! The usual sequence: register, own user, refresh, logout.

use crate::support::{Actor, Server};

#[tokio::test]
async fn a_user_registers_refreshes_and_signs_out() {
    let server = Server::start();
    let mut ada = Actor::registered(&server, "ada@example.org").await;
    assert_eq!(ada.me().await.expect(200).text_of("email"), "ada@example.org");
    let first = ada.cookies.clone();
    ada.refresh().await.expect(200);
    assert_ne!(ada.token("refresh"), first[&ada.cookie_name("refresh")]);
    assert_eq!(ada.logout().await.expect(200).text_of("message"), "Logged out successfully");
    assert_eq!(ada.cookies.keys().collect::<Vec<_>>(), [&ada.cookie_name("device")]);
    assert_eq!(ada.me().await.outcome(), (401, "TOKEN_REVOKED"));
}
