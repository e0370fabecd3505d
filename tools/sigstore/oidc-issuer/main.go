// Command oidc-issuer is an OpenID Connect issuer for a Fulcio on the same
// machine. It serves discovery and keys, and gives a token to anybody who asks:
//
//	GET /token?sub=SUBJECT[&aud=AUDIENCE][&email=ADDRESS][&ttl=DURATION]
//
// Whoever can reach it can be anyone, so it serves loopback addresses only and
// its key lives no longer than the process.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:18889", "loopback address to listen on")
	flag.Parse()
	if err := run(*addr); err != nil {
		slog.Error("oidc-issuer", "error", err)
		os.Exit(1)
	}
}

func run(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("reading the address: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return errors.New("only loopback addresses are served: tokens are given to whoever asks")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	srv := &http.Server{Addr: addr, Handler: (&issuer{url: "http://" + addr, key: key}).routes(), ReadHeaderTimeout: 5 * time.Second}
	return srv.ListenAndServe()
}

type issuer struct {
	url string
	key *ecdsa.PrivateKey
}

func (i *issuer) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{
			"issuer": i.url, "jwks_uri": i.url + "/keys",
			"authorization_endpoint": i.url + "/authorize", "token_endpoint": i.url + "/token",
			"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"ES256"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		var x, y [32]byte
		i.key.X.FillBytes(x[:])
		i.key.Y.FillBytes(y[:])
		reply(w, map[string]any{"keys": []map[string]string{{
			"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1", "x": b64(x[:]), "y": b64(y[:]),
		}}})
	})
	mux.HandleFunc("GET /token", i.token)
	return mux
}

func (i *issuer) token(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	sub, aud, ttl := q.Get("sub"), q.Get("aud"), 5*time.Minute
	if sub == "" {
		http.Error(w, "sub is missing", http.StatusBadRequest)
		return
	}
	if aud == "" {
		aud = "sigstore"
	}
	if t := q.Get("ttl"); t != "" {
		d, err := time.ParseDuration(t)
		if err != nil {
			http.Error(w, "ttl is no duration", http.StatusBadRequest)
			return
		}
		ttl = d
	}
	now := time.Now()
	claims := map[string]any{"iss": i.url, "sub": sub, "aud": aud, "iat": now.Unix(), "exp": now.Add(ttl).Unix()}
	if email := q.Get("email"); email != "" {
		claims["email"], claims["email_verified"] = email, true
	}
	token, err := i.sign(claims)
	if err != nil {
		http.Error(w, "signing: "+err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, token)
}

// sign makes a JWS in its compact form (RFC 7515 §7.1) with ES256, whose
// signature is the two numbers side by side (RFC 7518 §3.4), not their DER.
func (i *issuer) sign(claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed := b64([]byte(`{"alg":"ES256","kid":"1","typ":"JWT"}`)) + "." + b64(payload)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, digest[:])
	if err != nil {
		return "", err
	}
	var sig [64]byte
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return signed + "." + b64(sig[:]), nil
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
