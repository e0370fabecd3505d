package localfactory

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Metrics are the controller's own, without labels, summed, and the time that it
// spent in each stage under the stage's name.
func (s *Site) Metrics(ctx context.Context) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.MetricsURL(), nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the controller for its metrics: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return nil, err
	}
	return parseMetrics(data), nil
}

func parseMetrics(data []byte) map[string]float64 {
	out := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		line := lines.Text()
		name, _, _ := strings.Cut(line, "{")
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		name, _, _ = strings.Cut(name, " ")
		if n, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			out[name] += n
			if _, stage, ok := strings.Cut(line, `stage="`); ok && name == "millwright_stage_duration_seconds_sum" {
				stage, _, _ = strings.Cut(stage, `"`)
				out[stage] += n
			}
		}
	}
	return out
}
