package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// referrers answers what refers to a manifest (OCI distribution spec 1.1, listing
// referrers). The registry behind it answers that too, by reading every manifest that
// it has: with the evidence of a thousand revisions a client would wait for that most
// of the time.
type referrers struct {
	mu sync.RWMutex
	of map[string][]v1.Descriptor // by repository and digest of the subject, in the order in which they came
}

// place takes /v2/NAME/WHAT/REFERENCE apart.
func place(path, what string) (name, reference string, ok bool) {
	elements := strings.Split(path, "/")
	n := len(elements)
	if n < 5 || elements[n-2] != what {
		return "", "", false
	}
	return strings.Join(elements[2:n-2], "/"), elements[n-1], true
}

// put notes a manifest that the registry took. One whose subject is none refers to
// nothing.
func (r *referrers) put(path, contentType string, body []byte) {
	name, _, _ := place(path, "manifests")
	var m struct {
		ArtifactType string            `json:"artifactType"`
		Config       v1.Descriptor     `json:"config"`
		Subject      *v1.Descriptor    `json:"subject"`
		Annotations  map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(body, &m); err != nil || m.Subject == nil {
		return
	}
	if m.ArtifactType == "" {
		m.ArtifactType = string(m.Config.MediaType)
	}
	digest, size, err := v1.SHA256(bytes.NewReader(body))
	if err != nil {
		return
	}
	d := v1.Descriptor{
		MediaType: types.MediaType(contentType), Size: size, Digest: digest,
		ArtifactType: m.ArtifactType, Annotations: m.Annotations,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := name + "@" + m.Subject.Digest.String()
	if !slices.ContainsFunc(r.of[key], func(o v1.Descriptor) bool { return o.Digest == digest }) {
		r.of[key] = append(r.of[key], d)
	}
}

// remove forgets a manifest that was deleted by its digest. One whose tag was deleted is
// still there.
func (r *referrers) remove(path string) {
	name, reference, _ := place(path, "manifests")
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, list := range r.of {
		if strings.HasPrefix(key, name+"@") {
			r.of[key] = slices.DeleteFunc(list, func(o v1.Descriptor) bool { return o.Digest.String() == reference })
			if len(r.of[key]) == 0 {
				delete(r.of, key)
			}
		}
	}
}

// serve answers a request for referrers, and says whether it was one.
func (r *referrers) serve(w http.ResponseWriter, req *http.Request) bool {
	name, subject, ok := place(req.URL.Path, "referrers")
	if !ok || req.Method != http.MethodGet {
		return false
	}
	if _, err := v1.NewHash(subject); err != nil {
		http.Error(w, "the subject is no digest", http.StatusBadRequest)
		return true
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	wanted := req.URL.Query().Get("artifactType")
	r.mu.RLock()
	for _, d := range r.of[name+"@"+subject] {
		if wanted == "" || d.ArtifactType == wanted {
			index.Manifests = append(index.Manifests, d)
		}
	}
	r.mu.RUnlock()
	if wanted != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	w.Header().Set("Content-Type", string(types.OCIImageIndex))
	_ = json.NewEncoder(w).Encode(index)
	return true
}
