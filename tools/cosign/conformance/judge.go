package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// state of a run, as the metric names it.
type state string

const (
	signed   state = "signed"
	unsigned state = "unsigned"
	unknown  state = "unknown"
)

// expected is what a signed run has to show.
type expected struct {
	registry                string
	issuer, chains, publish string
	builder, pipeline       string
}

const (
	typeProvenance = "https://slsa.dev/provenance/v1"
	typeContents   = "https://spdx.dev/Document"
)

// answer is what the registry has for an image, after verification. All statements
// are about its digest.
type answer struct {
	err      error // the registry did not say
	there    int   // attestations of any kind and worth
	chains   []statement
	publish  []statement
	refusals []string // why the others count for nobody
}

// statement is an in-toto statement, as far as anybody asks.
type statement struct {
	Type          string          `json:"_type"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// provenance is the part of SLSA provenance that says who built what by which run.
type provenance struct {
	BuildDefinition struct {
		ResolvedDependencies []struct {
			Name string `json:"name"`
			URI  string `json:"uri"`
		} `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
		Metadata struct {
			InvocationID string `json:"invocationId"`
		} `json:"metadata"`
	} `json:"runDetails"`
}

// verdict is what is to be said of a run at one time.
type verdict struct {
	state         state
	cause, detail string // of those that are not signed
}

// judge decides from what is known of a run. The annotations of the run are not
// among that.
func judge(r buildRun, named error, a answer, want expected) verdict {
	if named == nil && a.err != nil {
		return verdict{unknown, "RegistryAway", a.err.Error()}
	}
	err := named
	if err == nil {
		err = errors.Join(provenanceOf(r, a, want), contents(a))
	}
	if err == nil {
		return verdict{state: signed}
	}
	var f *finding
	if !errors.As(err, &f) {
		return verdict{unknown, "Unexpected", err.Error()}
	}
	return verdict{unsigned, f.cause, f.detail}
}

// provenanceOf looks for the one statement about this run. Several runs may have built
// the same digest; each has provenance of its own. The finding is that of the
// statement that came nearest.
func provenanceOf(r buildRun, a answer, want expected) error {
	nearest, depth := &finding{"NoProvenance", "there is no provenance by " + want.chains + whyNot(a)}, 0
	for _, s := range a.chains {
		if s.PredicateType != typeProvenance {
			continue
		}
		f, at := wrongWith(s, r, want)
		if f == nil {
			return nil
		}
		if at > depth {
			nearest, depth = f, at
		}
	}
	return nearest
}

// wrongWith says what provenance lacks to be of this run, and how far it came.
func wrongWith(s statement, r buildRun, want expected) (*finding, int) {
	var p provenance
	if err := json.Unmarshal(s.Predicate, &p); err != nil {
		return &finding{"OtherProvenance", "provenance that cannot be read"}, 1
	}
	if id := p.RunDetails.Builder.ID; id != want.builder {
		return &finding{"OtherBuilder", fmt.Sprintf("the provenance is of the builder %.120q", id)}, 2
	}
	found := ""
	for _, d := range p.BuildDefinition.ResolvedDependencies {
		if d.Name == "pipeline" {
			found = cmp.Or(found, d.URI)
		}
	}
	if !strings.HasPrefix(found, want.pipeline) {
		return &finding{"OtherPipeline", fmt.Sprintf("the provenance is of the pipeline %.160q", found)}, 3
	}
	if id := p.RunDetails.Metadata.InvocationID; r.uid == "" || id != r.uid {
		return &finding{"OtherRun", fmt.Sprintf("there is provenance of another run only, %.60q", id)}, 4
	}
	return nil, 0
}

// contents looks for a list of what is in the image.
func contents(a answer) error {
	for _, s := range a.publish {
		if s.PredicateType == typeContents {
			return nil
		}
	}
	return &finding{"NoContents", "nobody who may has listed what is in the image" + whyNot(a)}
}

func whyNot(a answer) string {
	if a.there == 0 {
		return "; the registry has no attestations of the image"
	}
	if len(a.refusals) == 0 {
		return ""
	}
	return fmt.Sprintf("; of %d attestations, refused: %.300s", a.there, strings.Join(a.refusals, "; "))
}
