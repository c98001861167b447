//! The reference storefront and its load generator.
