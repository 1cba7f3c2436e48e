//! Behaviour from outside, against a local AWS. `make test` starts one and runs these.

mod contract;
mod cost;
