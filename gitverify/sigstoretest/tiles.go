package sigstoretest

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"millwright.dev/millwright/tools/assets"
	"millwright.dev/millwright/tools/process"
)

// StartTiles starts the log of Rekor's version 2 at TilesURL, which few tests need.
// It takes an entry up when there is a checkpoint with it, ten times a second here.
// Its name in checkpoints is the host of the URL, as verifiers will have it.
func (s *Sigstore) StartTiles(ctx context.Context) error {
	bin, err := assets.Ensure(ctx, os.Stderr, "rekor-tiles")
	if err != nil {
		return err
	}
	p, err := process.Start(process.Spec{
		Name: "tiles (rekor-tiles)", Path: bin.Path("rekor-tiles"), Dir: s.dir, Log: s.file("tiles.log"),
		Env: []string{"HOME=" + s.dir, "TMPDIR=" + os.TempDir()},
		Args: []string{
			"serve", "--hostname", "127.0.0.1", "--storage-dir", s.file("tiles"), "--signer-filepath", s.file("tiles.key"),
			"--http-address", "127.0.0.1", "--http-port", strconv.Itoa(s.ports.tiles), "--http-metrics-port", strconv.Itoa(s.ports.tilesMetrics),
			"--grpc-address", "127.0.0.1", "--grpc-port", strconv.Itoa(s.ports.tilesGRPC),
			"--batch-max-age", "20ms", "--checkpoint-interval", "100ms",
		},
	})
	if err != nil {
		return err
	}
	s.processes["tiles"] = p
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := p.Wait(ctx, process.OK(s.client, s.TilesURL+"/healthz")); err != nil {
		return fmt.Errorf("starting a log in tiles: %w", err)
	}
	return nil
}
