package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

const (
	// fulcioAudience is the audience of the tokens that Fulcio takes.
	fulcioAudience = "sigstore"
	// workloadTimeout is long for an agent on the same machine, and short for a
	// pass, which has other things to do when the agent hangs.
	workloadTimeout = 10 * time.Second
)

// workloadToken asks the SPIFFE Workload API for a JWT-SVID for each signature:
// it lives for minutes, and the agent has the next one before it ends. Where it
// gives none, nothing is signed, and what was to be signed waits.
func workloadToken(socket string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, workloadTimeout)
		defer cancel()
		svid, err := workloadapi.FetchJWTSVID(ctx, jwtsvid.Params{Audience: fulcioAudience}, workloadapi.WithAddr("unix://"+socket))
		if err != nil {
			return "", fmt.Errorf("asking the SPIFFE Workload API: %w", err)
		}
		return svid.Marshal(), nil
	}
}
