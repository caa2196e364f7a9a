//! What the standard library gives only as `unsafe`, made safe by a check at run time.

pub mod environment;
