//! The one conformance suite of the fabric: what every transport must do, tried over the public channel API between two processes.
//!
//! ```text
//!  fabric-conformance --scheme ipc          suite: one process for each scenario, with a time limit
//!    └─ fabric-conformance scene ipc NAME   scenario: one end of its channels, checks
//!         └─ fabric-conformance peer ROLE   peer: the other end (a thread where the transport stays in one process)
//! ```
//!
//! [`scenarios`] lists the scenarios by what they need of a transport; `tests/suite.rs` makes a test of each for each transport that is
//! there. A scenario gets a [`Scene`], which makes fresh addresses and starts peers, and returns an [`Outcome`]. Scenarios judge; they never repair: what
//! a transport does wrong shows as a [`Failure`] that says what was seen and what was expected.
//!
//! Nothing here is used by programs other than the suite and its tests.

#[macro_use]
pub mod failure;
pub mod payload;
pub mod peer;
pub mod resources;
pub mod roles;
pub mod runner;
pub mod scenarios;
pub mod scene;
pub mod scheme;
pub mod stage;

pub use failure::{Failure, Outcome};
pub use runner::{Options, Report, run};
pub use scenarios::{Scenario, find};
pub use scene::Scene;
pub use scheme::{Need, Scheme};
pub use stage::{Role, Stage};

// Linked in for their transports.
use fabric_net as _;
#[cfg(feature = "rdma")]
use fabric_rdma as _;
