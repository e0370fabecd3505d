package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// agent is a Workload API whose answers a test makes.
type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	answer func(ctx context.Context, audience []string) (*workload.JWTSVIDResponse, error)
}

func (a agent) FetchJWTSVID(ctx context.Context, r *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	// An agent answers only those who say so: a browser cannot (SPIFFE Workload Endpoint, 7.1).
	if m, _ := metadata.FromIncomingContext(ctx); !slices.Equal(m.Get("workload.spiffe.io"), []string{"true"}) {
		return nil, status.Error(codes.InvalidArgument, "security header missing")
	}
	return a.answer(ctx, r.GetAudience())
}

// serve returns the socket, whose path must be short.
func (a agent) serve(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(s, a)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(l); err != nil {
			t.Errorf("the agent: %v", err)
		}
	}()
	t.Cleanup(func() { s.Stop(); <-done })
	return socket
}

// svid is a JWT-SVID whose signature nobody looks at on the way to Fulcio.
func svid(audience string, expires time.Time, id string) *workload.JWTSVIDResponse {
	part := base64.RawURLEncoding.EncodeToString
	claims := fmt.Sprintf(`{"sub":%q,"aud":[%q],"exp":%d}`, id, audience, expires.Unix())
	token := part([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + part([]byte(claims)) + "." + part(make([]byte, 64))
	return &workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{{SpiffeId: id, Svid: token}}}
}

const reconcilerID = "spiffe://factory.test/factory/reconciler"

func TestTheWorkloadAPIIsAskedForEachTokenAndForTheAudienceOfFulcio(t *testing.T) {
	t.Parallel()
	var given []string
	token := workloadToken(agent{answer: func(_ context.Context, audience []string) (*workload.JWTSVIDResponse, error) {
		if !slices.Equal(audience, []string{"sigstore"}) {
			return nil, status.Errorf(codes.InvalidArgument, "audience %q", audience)
		}
		r := svid("sigstore", time.Now().Add(time.Duration(len(given)+1)*time.Minute), reconcilerID)
		given = append(given, r.Svids[0].Svid)
		return r, nil
	}}.serve(t))
	for i := range 2 {
		got, err := token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(given) != i+1 || got != given[i] {
			t.Errorf("token %d is not what was given as the %d. answer", i, len(given))
		}
	}
}

func TestAWorkloadAPIThatGivesNoGoodTokenGivesNone(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(time.Minute)
	for name, c := range map[string]struct {
		answer *workload.JWTSVIDResponse
		err    error
		want   string
	}{
		"nobody knows us":        {nil, status.Error(codes.PermissionDenied, "no identity issued"), "no identity issued"},
		"an empty answer":        {&workload.JWTSVIDResponse{}, nil, "no SVIDs"},
		"of another audience":    {svid("rekor", soon, reconcilerID), nil, "audience"},
		"of yesterday":           {svid("sigstore", time.Now().Add(-time.Hour), reconcilerID), nil, "expired"},
		"of nobody":              {svid("sigstore", soon, "ada@example.org"), nil, "SPIFFE"},
		"that is no token":       {&workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{{SpiffeId: reconcilerID, Svid: "x"}}}, nil, "parse"},
		"the twin that is taken": {svid("sigstore", soon, reconcilerID), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket := agent{answer: func(context.Context, []string) (*workload.JWTSVIDResponse, error) { return c.answer, c.err }}.serve(t)
			got, err := workloadToken(socket)(t.Context())
			if c.want == "" {
				if err != nil || got != c.answer.Svids[0].Svid {
					t.Errorf("%q, %v", got, err)
				}
				return
			}
			if got != "" || err == nil || !strings.Contains(err.Error(), "asking the SPIFFE Workload API: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
			if c.err != nil && status.Code(err) != codes.PermissionDenied {
				t.Errorf("the answer is not to be found in the error: %v", err)
			}
		})
	}
	if got, err := workloadToken(filepath.Join(t.TempDir(), "nobody"))(t.Context()); got != "" || status.Code(err) != codes.Unavailable {
		t.Errorf("without an agent: %q, %v", got, err)
	}
}

func TestAskingTheWorkloadAPIEndsWithItsContext(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	socket := agent{answer: func(ctx context.Context, _ []string) (*workload.JWTSVIDResponse, error) {
		close(asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}}.serve(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-asked; cancel(errors.New("enough")) }()
	began := time.Now()
	got, err := workloadToken(socket)(ctx)
	if got != "" || status.Code(err) != codes.Canceled || time.Since(began) > workloadTimeout/2 {
		t.Errorf("%q, %v after %v", got, err, time.Since(began))
	}
}
