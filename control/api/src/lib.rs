//! Types on Flame's REST and gRPC edges, and the client that flamectl and flamelet share
