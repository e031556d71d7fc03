//! Everything but the browser, as one binary: it is linked once, and its layers share the machine. `tests/run` counts
//! them by the modules below.

mod access_matrix;
mod adversarial;
mod api;
mod cli;
mod crash;
mod data_dir;
mod environment;
mod examples;
mod layering;
mod proxies;
mod readme;
mod start;
mod support;
