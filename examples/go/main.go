// Calls a protected API from Go with golang.org/x/oauth2/clientcredentials.
//
// Shows: discovery from the issuer's metadata, the client credentials grant with an audience, an http.Client that gets a
// new token when the old one expires.
//
// Needs: Go. Run it from the root of the clone, while the sidecar of conf/quickstart.yaml runs:
//
//	(cd examples/go && go mod tidy && go build -o ../../target/examples/call-api .)
//	target/examples/call-api
//
// Environment, with these defaults: ISSUER_URL (http://127.0.0.1:8080), API_URL (http://127.0.0.1:8081/api/v1/devices),
// CLIENT_ID (legacy), CLIENT_SECRET_FILE (data/legacy-secret), SCOPE (devices:read), AUDIENCE (https://devices.example).
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// A redirect could carry the secret or the token to another server.
var plain = &http.Client{
	Timeout:       10 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func setting(name, fallback string) string {
	if value, ok := os.LookupEnv(name); ok {
		return value
	}
	return fallback
}

// get returns the body of a URL; a status other than 200 is an error.
func get(client *http.Client, url string) ([]byte, error) {
	answer, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s: %s", url, answer.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// discover finds the token endpoint in the issuer's metadata (RFC 8414).
func discover(issuer string) (string, error) {
	body, err := get(plain, issuer+"/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}
	var metadata struct {
		Issuer        string `json:"issuer"`
		TokenEndpoint string `json:"token_endpoint"`
	}
	if err := json.Unmarshal(body, &metadata); err != nil {
		return "", fmt.Errorf("the metadata of %s: %w", issuer, err)
	}
	// Otherwise another server's answer could send the secret elsewhere.
	if metadata.Issuer != issuer {
		return "", fmt.Errorf("the metadata of %s is that of %s", issuer, metadata.Issuer)
	}
	return metadata.TokenEndpoint, nil
}

func run() error {
	secret, err := os.ReadFile(setting("CLIENT_SECRET_FILE", "data/legacy-secret"))
	if err != nil {
		return err
	}
	tokenURL, err := discover(setting("ISSUER_URL", "http://127.0.0.1:8080"))
	if err != nil {
		return err
	}
	credentials := clientcredentials.Config{
		ClientID:       setting("CLIENT_ID", "legacy"),
		ClientSecret:   strings.TrimSpace(string(secret)),
		TokenURL:       tokenURL,
		Scopes:         strings.Fields(setting("SCOPE", "devices:read")),
		EndpointParams: url.Values{"audience": {setting("AUDIENCE", "https://devices.example")}},
		AuthStyle:      oauth2.AuthStyleInHeader,
	}
	// The library fetches tokens and calls the API with the client of the context.
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, plain)
	api := credentials.Client(ctx)
	api.CheckRedirect = plain.CheckRedirect
	api.Timeout = plain.Timeout
	body, err := get(api, setting("API_URL", "http://127.0.0.1:8081/api/v1/devices"))
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(body)
	return err
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "call-api: %v\n", err)
		os.Exit(1)
	}
}
