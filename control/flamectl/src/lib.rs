//! The command line of Flame
