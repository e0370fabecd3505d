package tufroot

import sigstore "github.com/sigstore/sigstore-go/pkg/tuf"

// PublicGood is the TUF repository of the public-good instance of Sigstore.
const PublicGood = sigstore.DefaultMirror

// PublicGoodRoot is the root metadata of that repository that sigstore-go
// embeds. It may have expired: as the first link of a chain that does no harm.
func PublicGoodRoot() []byte { return sigstore.DefaultRoot() }
