//! The shell around guard: clocks and timers, events in, actions carried out.
