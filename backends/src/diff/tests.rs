//! (placeholder until the next lines)
