//! A build without metrics. These types have no values, which the compiler knows: what would report to them is left out of
//! the program, and who asks is told that there are none.

use super::Levels;
use crate::{
    config, service,
    store::{Counts, engine},
};
use std::{sync::Arc, time::Duration};

/// What is measured: nothing.
#[derive(Debug)]
pub enum Metrics {}

/// A connection that is counted: none.
#[derive(Debug)]
pub enum Connected {}

impl Drop for Connected {
    fn drop(&mut self) {
        match *self {}
    }
}

#[allow(missing_docs, reason = "they are those of a build with metrics")]
#[allow(clippy::needless_pass_by_value, reason = "they are those of a build with metrics")]
impl Metrics {
    pub const fn start(_: &config::Metrics) -> Option<Arc<Self>> {
        None
    }

    pub fn store_watch(self: &Arc<Self>) -> engine::Watch {
        match **self {}
    }

    pub fn hash_watch(self: &Arc<Self>) -> Box<dyn Fn(Duration, Duration) + Send + Sync> {
        match **self {}
    }

    pub const fn count_requests(&self, _: &[(&str, String)]) {
        match *self {}
    }

    pub const fn answered(&self, _: usize, _: u16, _: Duration) {
        match *self {}
    }

    pub const fn signed_in<T>(&self, _: &Result<T, service::Error>) {
        match *self {}
    }

    pub const fn refreshed<T>(&self, _: &Result<T, service::Error>) {
        match *self {}
    }

    pub fn connected(this: &Arc<Self>) -> Connected {
        match **this {}
    }

    pub const fn counted(&self, _: Counts) {
        match *self {}
    }

    pub const fn render(&self, _: &Levels) -> String {
        match *self {}
    }
}
