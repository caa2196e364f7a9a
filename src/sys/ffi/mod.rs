//! What the libraries give only as `unsafe`, made safe by a check at run time or by what the types say.

pub mod environment;
pub mod lease;
