package reconciler

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// secret are credentials of the source, and the Secret that they are of.
type secret struct {
	name string
	data map[string][]byte
}

// credentials are those of the source. They are read once, again after a fetch
// that failed, and with each sweep: a pass in which nothing happened asks the API
// server nothing.
func (p *pass) credentials(ctx context.Context) (map[string][]byte, error) {
	ref := p.factory.Spec.Source.SecretRef
	if ref == nil {
		p.plant.secret = nil
		return map[string][]byte{}, nil
	}
	if s := p.plant.secret; s != nil && s.name == ref.Name && !p.sweepDue() {
		return s.data, nil
	}
	var read corev1.Secret
	if err := p.plant.setup.Reader.Get(ctx, client.ObjectKey{Namespace: p.factory.Namespace, Name: ref.Name}, &read); err != nil {
		p.plant.secret = nil
		return nil, fmt.Errorf("reading the credentials of the source: %w", err)
	}
	p.plant.secret = &secret{name: ref.Name, data: read.Data}
	return read.Data, nil
}
