package source

import (
	"context"
	"net/url"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/file"
)

// maxAdvertisement bounds what is read of a server's list of refs.
const maxAdvertisement = 64 << 20

// session is a conversation with git-upload-pack. Every fetch has its own, with
// its own connection, and none is configured by anything but the Remote and, for
// HTTP, the proxy variables of the environment: not by ssh_config, ssh agents,
// credential helpers or go-git's registry of protocols.
type session interface {
	AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error)
	UploadPack(ctx context.Context, request *packp.UploadPackRequest) (*packp.UploadPackResponse, error)
	Close() error
}

func connect(ctx context.Context, r Remote, with access) (session, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "ssh" {
		return dialSSH(ctx, u, with)
	}
	endpoint, err := transport.NewEndpoint(r.URL)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "file" {
		return file.DefaultClient.NewUploadPackSession(endpoint, nil)
	}
	return openHTTP(endpoint, u, r.MaxPack, with)
}
