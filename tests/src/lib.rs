//! Clusters for the tests.
