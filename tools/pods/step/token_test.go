package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

const publishID = "spiffe://factory.test/factory/publish"

// agent is a Workload API that knows the pod from the nth question on.
type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	t       *testing.T
	id      string
	refuses int64
	asked   atomic.Int64
}

func (a *agent) FetchJWTSVID(ctx context.Context, req *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	if md, _ := metadata.FromIncomingContext(ctx); len(md.Get("workload.spiffe.io")) != 1 {
		return nil, status.Error(codes.InvalidArgument, "security header missing")
	}
	if a.asked.Add(1) <= a.refuses {
		return nil, status.Error(codes.PermissionDenied, "no identity issued")
	}
	return &workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{{SpiffeId: a.id, Svid: a.token(req.GetAudience())}}}, nil
}

func (a *agent) token(audience []string) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Error(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		a.t.Error(err)
	}
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Subject: a.id, Audience: audience, Expiry: jwt.NewNumericDate(time.Now().Add(time.Minute)), IssuedAt: jwt.NewNumericDate(time.Now()),
	}).Serialize()
	if err != nil {
		a.t.Error(err)
	}
	return token
}

// start serves from the given time on.
func (a *agent) start(after time.Duration) (socket string) {
	a.t.Helper()
	dir, err := os.MkdirTemp("", "a") // short: a socket's name has 107 bytes
	if err != nil {
		a.t.Fatal(err)
	}
	socket = filepath.Join(dir, "api.sock")
	srv := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(srv, a)
	timer := time.AfterFunc(after, func() {
		lis, err := net.Listen("unix", socket)
		if err != nil {
			a.t.Error(err)
			return
		}
		_ = srv.Serve(lis)
	})
	a.t.Cleanup(func() { timer.Stop(); srv.Stop(); _ = os.RemoveAll(dir) })
	return socket
}

func fetch(t *testing.T, socket, timeout string, more ...string) (string, error) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "token")
	args := append([]string{"fetch-token", "-socket", socket, "-id", publishID, "-out", to, "-timeout", timeout}, more...)
	err := run(t.Context(), args, io.Discard)
	if _, statErr := os.Lstat(to); err != nil && statErr == nil {
		t.Error("refused, and yet there is a token")
	}
	return to, err
}

func TestATokenIsWaitedForAndOnlyItsOwnerCanReadIt(t *testing.T) {
	t.Parallel()
	a := &agent{t: t, id: publishID, refuses: 2}
	to, err := fetch(t, a.start(300*time.Millisecond), "20s")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(to); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if token := read(t, to); strings.Count(token, ".") != 2 || strings.ContainsAny(token, "\n ") {
		t.Errorf("token %q", token)
	}
	if a.asked.Load() != 3 {
		t.Errorf("asked %d times", a.asked.Load())
	}
	if left, _ := os.ReadDir(filepath.Dir(to)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestWithoutATokenItEndsInTime(t *testing.T) {
	t.Parallel()
	never := &agent{t: t, id: publishID, refuses: 1 << 30}
	_, err := fetch(t, never.start(0), "1s")
	if err == nil || refusal.ReasonOf(err) != "" || !strings.Contains(err.Error(), "no identity issued") {
		t.Errorf("never registered: %v", err)
	}
	if _, err := fetch(t, "/nonexistent/api.sock", "500ms"); err == nil || refusal.ReasonOf(err) != "" {
		t.Errorf("no socket: %v", err)
	}
}

func TestATokenOfSomebodyElseIsRefused(t *testing.T) {
	t.Parallel()
	other := &agent{t: t, id: "spiffe://factory.test/factory/chains"}
	if _, err := fetch(t, other.start(0), "5s"); refusal.ReasonOf(err) != reasonIdentity {
		t.Errorf("another identity: %v", err)
	}
	for flag, values := range map[string]map[string]string{
		"-socket":   {"api.sock": reasonSocket, "unix:///spiffe/api.sock": reasonSocket, "/a/../b": reasonSocket, "/" + strings.Repeat("a", 107): reasonSocket},
		"-audience": {"": reasonAudience, "a b": reasonAudience, strings.Repeat("a", 200): reasonAudience},
		"-id":       {"": reasonIdentity, "publish": reasonIdentity, "https://factory.test/x": reasonIdentity},
	} {
		for value, want := range values {
			if _, err := fetch(t, "/nonexistent/api.sock", "1s", flag, value); refusal.ReasonOf(err) != want {
				t.Errorf("%s %q: %v", flag, value, err)
			}
		}
	}
}
