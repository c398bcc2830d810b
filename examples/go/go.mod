module example.com/call-api

go 1.23.0

// go.sum is not kept here: `go mod tidy` writes it.
require golang.org/x/oauth2 v0.30.0
