package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// Reasons of tokens.
const (
	reasonSocket   = "token/socket"
	reasonAudience = "token/audience"
	reasonIdentity = "token/identity"
)

const tokenLimit = 16 << 10

var audienceForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:/._-]{0,127}$`)

// fetchToken waits for the workload's identity and writes a token of it. A pod
// that was just made is not known to the agent for some seconds: the agent says
// no then, and that is no answer yet.
func fetchToken(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("fetch-token", flag.ContinueOnError)
	socket := flags.String("socket", "/spiffe/api.sock", "socket of the SPIFFE Workload API, an absolute path")
	audience := flags.String("audience", "sigstore", "audience of the token")
	id := flags.String("id", "", "identity that it has to be of, spiffe://… (required)")
	to := flags.String("out", "", "file for the token, which only its owner can read (required)")
	timeout := flags.Duration("timeout", time.Minute, "when to give up")
	if err := refusal.Parse(flags, args, out); err != nil {
		return err
	}
	if *to == "" {
		return refusal.Usage("-out is required")
	}
	if !filepath.IsAbs(*socket) || filepath.Clean(*socket) != *socket || len(*socket) > 107 {
		return refusal.New(reasonSocket, "give the absolute path of the socket, without unix://", "%q is no path of a socket", *socket)
	}
	if !audienceForm.MatchString(*audience) {
		return refusal.New(reasonAudience, "use the client id of the identity provider, sigstore", "audience %q", *audience)
	}
	subject, err := spiffeid.FromString(*id)
	if err != nil {
		return refusal.New(reasonIdentity, "give the identity, spiffe://DOMAIN/PATH", "%q: %v", *id, err)
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	svid, err := waitForToken(ctx, "unix://"+*socket, jwtsvid.Params{Audience: *audience, Subject: subject})
	if err != nil {
		return err
	}
	if svid.ID != subject {
		return refusal.New(reasonIdentity, "look at the registration entries of this pod", "the token is of %q, not of %q", svid.ID, subject)
	}
	fmt.Fprintf(out, "%s until %s\n", svid.ID, svid.Expiry.UTC().Format(time.RFC3339))
	return writeSecret(*to, svid.Marshal())
}

// waitForToken asks until there is a token or no time left.
func waitForToken(ctx context.Context, addr string, params jwtsvid.Params) (*jwtsvid.SVID, error) {
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(addr))
	if err != nil {
		return nil, fmt.Errorf("preparing to ask the Workload API: %w", err)
	}
	defer func() { _ = client.Close() }()
	var last error
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		svid, err := client.FetchJWTSVID(attempt, params)
		cancel()
		if err == nil {
			return svid, nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // what the agent said, rather than that time is up
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(errors.New("the Workload API gave no token in time; is this pod registered, and the agent's socket mounted?"), last)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// writeSecret puts a file there at once, and with its mode from the beginning.
func writeSecret(path, content string) error {
	if content == "" || len(content) > tokenLimit {
		return fmt.Errorf("the token has %d bytes", len(content))
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".token-*") // 0600
	if err != nil {
		return fmt.Errorf("writing the token: %w", err)
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("writing the token: %w", err)
	}
	return nil
}
