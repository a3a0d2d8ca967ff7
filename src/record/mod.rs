//! Record batches (magic 2): views, the builder, compression, CRC.
