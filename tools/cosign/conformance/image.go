package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// buildRun is what is looked at of a PipelineRun that succeeded.
type buildRun struct {
	namespace, name, uid string
	ended                time.Time
	url, digest          string // results IMAGE_URL and IMAGE_DIGEST, as they stand there
}

// image names an image in a registry by its digest.
type image struct {
	repository string // HOST[:PORT]/PATH
	hex        string // of the digest, SHA-256
}

func (i image) String() string { return i.repository + "@sha256:" + i.hex }

// Results come from pods. These are the only forms in which publish gives them.
const maxURL = 255

var (
	repositoryForm = regexp.MustCompile(`^[a-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$`)
	digestForm     = regexp.MustCompile(`^sha256:([0-9a-f]{64})$`)
)

// imageOf reads a run's results. An error says why there is no image of which the
// factory could have signed anything; it quotes no more than is printable and short.
func imageOf(r buildRun, registry string) (image, error) {
	if r.url == "" || r.digest == "" {
		return image{}, &finding{"NoImage", "the run has no results IMAGE_URL and IMAGE_DIGEST"}
	}
	digest := digestForm.FindStringSubmatch(r.digest)
	if len(r.url) > maxURL || !repositoryForm.MatchString(r.url) || digest == nil {
		return image{}, &finding{"NoImage", fmt.Sprintf("the results %.80q and %.80q name no image by its digest", r.url, r.digest)}
	}
	if !strings.HasPrefix(r.url, registry+"/") {
		return image{}, &finding{"ImageElsewhere", fmt.Sprintf("%.80q is not in %s", r.url, registry)}
	}
	return image{repository: r.url, hex: digest[1]}, nil
}

// finding is a definite no: what is wrong in one word that stays the same, and in a
// sentence.
type finding struct{ cause, detail string }

func (f *finding) Error() string { return f.cause + ": " + f.detail }
