//! Flame in a box: all of Flame in one process, for one machine
