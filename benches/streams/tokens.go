package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"
)

type signer struct{ key *ecdsa.PrivateKey }

func newSigner() signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	return signer{key}
}

func encode(bytes []byte) string { return base64.RawURLEncoding.EncodeToString(bytes) }

func (it signer) keySet() []byte {
	x, y := it.key.X.FillBytes(make([]byte, 32)), it.key.Y.FillBytes(make([]byte, 32))
	return fmt.Appendf(nil, `{"keys":[{"kty":"EC","crv":"P-256","kid":"k","alg":"ES256","use":"sig","x":"%s","y":"%s"}]}`,
		encode(x), encode(y))
}

func (it signer) tokens(count int, expiry time.Time) []string {
	tokens := make([]string, count)
	for number := range tokens {
		tokens[number] = it.sign(number, expiry)
	}
	return tokens
}

func (it signer) token(lifetime time.Duration) string { return it.sign(-1, time.Now().Add(lifetime)) }

func (it signer) sign(number int, expiry time.Time) string {
	claims := fmt.Sprintf(`{"iss":"http://issuer.example","sub":"client-%d","aud":"streams","client_id":"client-%d",`+
		`"iat":%d,"exp":%d,"jti":"%s"}`, number, number, time.Now().Unix(), expiry.Unix(), rand.Text())
	text := encode([]byte(`{"alg":"ES256","typ":"at+jwt","kid":"k"}`)) + "." + encode([]byte(claims))
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, it.key, digest[:])
	check(err)
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return text + "." + encode(signature)
}
