// Go verifiers, each set up by its documentation, against the four forms of token. Prints a row for each.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	cap "github.com/hashicorp/cap/jwt"
	"github.com/lestrrat-go/jwx/v3/jwk"
	jwx "github.com/lestrrat-go/jwx/v3/jwt"
)

var (
	ctx      = context.Background()
	issuer   = os.Getenv("M2M_ISSUER")
	audience = os.Getenv("M2M_AUDIENCE")
	jwksURI  = issuer + "/.well-known/jwks.json"
)

// A verifier returns the reason of a refusal.
type verifier func(token string) error

func goOIDC() (verifier, error) {
	provider, err := oidc.NewProvider(ctx, issuer)
	if err != nil {
		return nil, err
	}
	return verify(provider.Verifier(&oidc.Config{ClientID: audience})), nil
}

func goOIDCWithoutDiscovery() (verifier, error) {
	return verify(oidc.NewVerifier(issuer, oidc.NewRemoteKeySet(ctx, jwksURI), &oidc.Config{ClientID: audience})), nil
}

func verify(v *oidc.IDTokenVerifier) verifier {
	return func(token string) error {
		_, err := v.Verify(ctx, token)
		return err
	}
}

func golangJWT() (verifier, error) {
	keys, err := keyfunc.NewDefaultCtx(ctx, []string{jwksURI})
	if err != nil {
		return nil, err
	}
	return func(token string) error {
		_, err := jwt.Parse(token, keys.Keyfunc, jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired())
		return err
	}, nil
}

func lestrrat() (verifier, error) {
	keys, err := jwk.Fetch(ctx, jwksURI)
	if err != nil {
		return nil, err
	}
	return func(token string) error {
		_, err := jwx.Parse([]byte(token), jwx.WithKeySet(keys), jwx.WithIssuer(issuer), jwx.WithAudience(audience))
		return err
	}, nil
}

func hashicorp() (verifier, error) {
	keys, err := cap.NewOIDCDiscoveryKeySet(ctx, issuer, "")
	if err != nil {
		return nil, err
	}
	validator, err := cap.NewValidator(keys)
	if err != nil {
		return nil, err
	}
	return func(token string) error {
		_, err := validator.Validate(ctx, token, cap.Expected{Issuer: issuer, Audiences: []string{audience}})
		return err
	}, nil
}

func main() {
	for _, one := range []struct {
		name string
		make func() (verifier, error)
	}{
		{"go-oidc", goOIDC},
		{"go-oidc without discovery", goOIDCWithoutDiscovery},
		{"golang-jwt, keyfunc", golangJWT},
		{"jwx", lestrrat},
		{"hashicorp/cap (Vault)", hashicorp},
	} {
		accepts, err := one.make()
		if err != nil {
			fmt.Fprintln(os.Stderr, one.name, err)
			os.Exit(1)
		}
		var row []string
		for _, form := range strings.Fields(os.Getenv("M2M_FORMS")) {
			token, err := os.ReadFile(filepath.Join(os.Getenv("M2M_TOKENS"), form))
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			if accepts(strings.TrimSpace(string(token))) == nil {
				row = append(row, "yes")
			} else {
				row = append(row, "no")
			}
		}
		fmt.Printf("| %s | %s |\n", one.name, strings.Join(row, " | "))
	}
}
