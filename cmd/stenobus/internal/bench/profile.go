package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// profile writes what each process does in the time from now on, NAME-ROLE.cpu.pprof, and
// all that it has allocated, NAME-ROLE.allocs.pprof. It returns what waits for the files.
func (s *site) profile(ctx context.Context, dir, name string, lasts time.Duration) (wait func() error) {
	var wg sync.WaitGroup
	errs := make([]error, len(s.processes))
	for i, p := range s.processes {
		if p.pprof == "" {
			continue
		}
		wg.Go(func() {
			base := filepath.Join(dir, name+"-"+p.role)
			cpu := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", p.pprof, max(1, int(lasts.Seconds())))
			errs[i] = errors.Join(
				download(ctx, cpu, base+".cpu.pprof"),
				download(ctx, "http://"+p.pprof+"/debug/pprof/allocs", base+".allocs.pprof"),
			)
		})
	}
	return func() error {
		wg.Wait()
		return errors.Join(errs...)
	}
}

func download(ctx context.Context, url, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: %s says %s", url, resp.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}
