package bench

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"stenobus/cmd/stenobus/internal/capacity"
)

const (
	storeCopies   = 3   // servers of the cluster, and copies of each stream
	capacityRate  = 50  // frames a second of a speaker
	capacityFinal = 500 // frames to a final: one in 10 s, as workers make of speech without pauses
	storeWriters  = 100 // of results and records at once, at most; a dispatcher takes 256 requests
)

// Capacity measures what package capacity reckons with, in some two minutes. Of cfg it takes
// the sessions that speak, the size of frames, the time and the deployment's program and share.
func Capacity(ctx context.Context, cfg Config) (capacity.Figures, error) {
	cfg.NoPipe, cfg.Load.Sources, cfg.Load.Rate, cfg.Load.PingEvery = true, 1, capacityRate, 10*time.Second
	cfg.Deployment.FinalEvery = capacityFinal
	f := capacity.Figures{
		capacity.MachineCores: float64(runtime.NumCPU()), capacity.Copies: storeCopies,
		capacity.Sessions: float64(cfg.Load.Sessions), capacity.ShareMS: ms(cfg.Deployment.Share), capacity.FrameBytes: float64(cfg.Load.FrameBytes),
	}
	steps := []func(context.Context, Config, capacity.Figures) error{oneServer, cluster, lives, resultsLog, recordsBucket}
	for i, step := range steps {
		one := cfg
		one.Progress = func(phase, detail string) {
			cfg.Progress(fmt.Sprintf("%d of %d, %s", i+1, len(steps), phase), detail)
		}
		if err := step(ctx, one, f); err != nil {
			return nil, err
		}
	}
	return f, f.Validate()
}

// carried is Run where what is lost or fails is an error.
func carried(ctx context.Context, cfg Config) (Result, error) {
	r, err := Run(ctx, cfg)
	if err == nil && !r.OK() {
		err = fmt.Errorf("frames lost %d, doubled %d; sessions failed %d", r.Lost, r.Doubled, r.Failed)
	}
	return r, err
}

func oneServer(ctx context.Context, cfg Config, f capacity.Figures) error {
	r, err := carried(ctx, cfg)
	f[capacity.BusFrame] = r.CPU[roleBus]
	return err
}

func cluster(ctx context.Context, cfg Config, f capacity.Figures) error {
	cfg.Deployment.Buses = storeCopies
	r, err := carried(ctx, cfg)
	f[capacity.GatewayFrame], f[capacity.WorkerFrame], f[capacity.ClusterFrame] = r.CPU[roleGateway], r.CPU[roleWorker], r.CPU[roleBus]
	f[capacity.GatewayIO], f[capacity.ClusterIO] = r.IO[roleGateway], r.IO[roleBus]
	f[capacity.GatewayMemory], f[capacity.WorkerMemory] = r.RSS[roleGateway], r.RSS[roleWorker]
	return err
}

// lives opens and ends sessions that say nothing.
func lives(ctx context.Context, cfg Config, f capacity.Figures) error {
	cfg.Deployment.Buses = storeCopies
	cfg.Load.Sessions, cfg.Load.Rate, cfg.Duration = capacity.OpenFactor*cfg.Load.Sessions, 0, time.Second
	cfg.Load.Ramp = time.Duration(cfg.Load.Sessions) * capacity.OpenEvery
	r, err := carried(ctx, cfg)
	for name, role := range map[string]string{
		capacity.GatewayLife: roleGateway, capacity.WorkerLife: roleWorker,
		capacity.ClusterLife: roleBus, capacity.DispatcherLife: roleDispatcher,
	} {
		f[name] = r.OpenCPU[role] + r.EndCPU[role]
	}
	return err
}

func resultsLog(ctx context.Context, cfg Config, f capacity.Figures) error {
	cfg.Load.Sessions = min(cfg.Load.Sessions, storeWriters)
	r, err := Results(ctx, cfg, LogConfig{Streams: 1, Replicas: storeCopies})
	f[capacity.Results], f[capacity.ResultBus], f[capacity.ResultStored] = r.ResultsPerS, r.CPU[roleBus], r.StoredBytes
	return err
}

func recordsBucket(ctx context.Context, cfg Config, f capacity.Figures) error {
	cfg.Load.Sessions = min(cfg.Load.Sessions, storeWriters)
	r, err := records(ctx, cfg, storeCopies)
	f[capacity.Writes], f[capacity.WriteBus], f[capacity.RenewalCPU] = r.writesPerS, r.write[roleBus], r.renewal[roleDispatcher]
	return err
}
