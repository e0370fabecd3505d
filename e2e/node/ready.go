package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxNode bounds what the API server may say of the node, in bytes.
const maxNode = 1 << 20

// ready asks whether the kubelet says that pods may be started. What an earlier
// one said with the same data does not count; the API server counts in seconds.
func (n *Node) ready(ctx context.Context) error {
	client, err := n.admin.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.admin.url+"/api/v1/nodes/"+Name, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: the API server says %s", errNotReady, resp.Status)
	}
	var node struct {
		Status struct {
			Conditions []struct {
				Type, Status, Reason, Message string
				LastHeartbeatTime             time.Time
			}
		}
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxNode)).Decode(&node); err != nil {
		return fmt.Errorf("reading what the API server says of the node: %w", err)
	}
	for _, c := range node.Status.Conditions {
		if c.Type != "Ready" || c.LastHeartbeatTime.Unix() <= n.began.Unix() {
			continue
		}
		if c.Status == "True" {
			return nil
		}
		return fmt.Errorf("%w: %s: %s", errNotReady, c.Reason, c.Message)
	}
	return errNotReady
}
