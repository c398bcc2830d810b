// An API that requires the scope `orders:read`, on net/http and go-oidc.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
)

func variable(name, other string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return other
}

func main() {
	issuer := variable("ISSUER_URL", "http://127.0.0.1:8080")
	// The metadata name the algorithms. Without discovery, oidc.NewVerifier accepts RS256 only.
	provider, err := oidc.NewProvider(context.Background(), issuer)
	if err != nil {
		log.Fatal(err)
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: variable("AUDIENCE", "https://orders.example")})
	http.HandleFunc("GET /orders", func(w http.ResponseWriter, r *http.Request) {
		scheme, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		token, err := verifier.Verify(r.Context(), raw)
		var claims struct {
			ClientID string `json:"client_id"`
			Scope    string `json:"scope"`
		}
		if !strings.EqualFold(scheme, "bearer") || err != nil || token.Claims(&claims) != nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "{}", http.StatusUnauthorized)
			return
		}
		if !slices.Contains(strings.Fields(claims.Scope), "orders:read") {
			http.Error(w, "{}", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]string{"client_id": claims.ClientID})
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+variable("PORT", "8090"), nil))
}
