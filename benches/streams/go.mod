module m2m-sidecar-streams

go 1.24
