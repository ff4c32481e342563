"""What tests, benchmarks and scripts share: processes to start, servers, waiting, a tiny study."""
