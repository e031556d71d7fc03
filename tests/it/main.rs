//! All integration tests except the browser's, as one binary, so that there is only one to link. `tests/run` counts the
//! tests by the modules below.

mod access_matrix;
mod adversarial;
mod api;
mod backup;
mod cli;
mod crash;
mod data_dir;
mod environment;
mod examples;
mod five_minutes;
mod gate;
mod keys;
mod layering;
mod metrics;
mod proxies;
mod readme;
mod start;
mod support;
#[cfg(feature = "tls")]
mod tls;
