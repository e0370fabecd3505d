package source

import (
	"errors"
	"fmt"
	"net/url"

	fluxgit "github.com/fluxcd/pkg/git"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"github.com/skeema/knownhosts"
)

// authFor turns the data of a credentials Secret, in the layout that Flux uses,
// into go-git's authentication. SSH without known_hosts is refused: a host that
// nobody pinned could be anybody.
func authFor(r Remote) (access, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return access{}, errors.New("the URL does not parse")
	}
	if u.Scheme == "file" || (len(r.Credentials) == 0 && u.Scheme != "ssh") {
		return access{}, nil
	}
	options, err := fluxgit.NewAuthOptions(*u, r.Credentials)
	if err != nil {
		return access{}, fmt.Errorf("reading the credentials: %w", err)
	}
	a := access{ca: options.CAFile}
	switch {
	case u.Scheme == "ssh":
		a.auth, err = sshAuth(options)
	case options.BearerToken != "":
		a.auth = &http.TokenAuth{Token: options.BearerToken}
	case options.Username != "" || options.Password != "":
		a.auth = &http.BasicAuth{Username: options.Username, Password: options.Password}
	}
	return a, err
}

// access is how a remote is spoken to: who we are, and which authority signs
// the server's certificate, if not one of the system's.
type access struct {
	auth transport.AuthMethod
	ca   []byte
}

func sshAuth(options *fluxgit.AuthOptions) (transport.AuthMethod, error) {
	if len(options.Identity) == 0 || len(options.KnownHosts) == 0 {
		return nil, errors.New("ssh needs the keys identity and known_hosts in the credentials Secret")
	}
	user := options.Username
	if user == "" {
		user = "git"
	}
	auth, err := ssh.NewPublicKeys(user, options.Identity, options.Password)
	if err != nil {
		return nil, errors.New("the ssh identity does not parse or its password is wrong")
	}
	db, err := knownHosts(options.KnownHosts)
	if err != nil {
		return nil, fmt.Errorf("reading known_hosts: %w", err)
	}
	auth.HostKeyCallback = db.HostKeyCallback()
	return auth, nil
}

func knownHosts(data []byte) (*knownhosts.HostKeyDB, error) {
	path, remove, err := tempFile(data)
	if err != nil {
		return nil, err
	}
	defer remove()
	return knownhosts.NewDB(path)
}
