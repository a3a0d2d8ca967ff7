//! The broker: wires the rooms below it, and answers each API.
