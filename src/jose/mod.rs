//! JOSE: keys, signatures and key sets, shared by the roles.

pub mod sign;

pub use jsonwebtoken::Algorithm;
