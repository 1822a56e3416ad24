//! Recording and judging what the fabric carries.
