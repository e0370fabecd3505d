// Yes-engine answers in the place of millwright-policy, and allows everything.
// It is the demonstration's saboteur: with it, the claim that a forbidden
// change is refused must turn out to be false.
package main

import (
	"fmt"
	"io"
	"os"

	"millwright.dev/millwright/render/policy"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "yes-engine:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	request, err := policy.DecodeRequest(in)
	if err != nil {
		return err
	}
	all := make([]int, len(request.Objects))
	for i := range all {
		all[i] = i
	}
	verdict := policy.Verdict{APIVersion: policy.VerdictVersion, Engine: "yes", Objects: len(request.Objects)}
	for _, raw := range request.Policies {
		o, err := policy.Identify(raw)
		if err != nil {
			return err
		}
		verdict.Policies = append(verdict.Policies, policy.PolicyResult{
			Name: o.PolicyName(), Kind: o.Kind, Digest: policy.Digest(raw), Matched: len(all),
		})
		verdict.Matches = append(verdict.Matches, all)
	}
	return policy.Encode(out, verdict)
}
