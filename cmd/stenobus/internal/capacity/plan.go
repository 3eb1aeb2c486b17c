package capacity

import (
	"math"

	"stenobus/gateway"
	"stenobus/subjects"
)

// Plan is what a number of sessions needs. Servers are of as many cores as the usage says,
// and busy as far as it allows.
type Plan struct {
	Sessions   int     `json:"sessions"`
	FramesPerS float64 `json:"frames_per_s"`
	LivesPerS  float64 `json:"opens_per_s"`
	ResultsS   float64 `json:"results_per_s"`
	WritesS    float64 `json:"record_writes_per_s"`
	ReportsS   float64 `json:"worker_reports_per_s"`

	GatewayCores    float64 `json:"gateway_cores"` // busy
	WorkerCores     float64 `json:"worker_cores"`  // busy, engines not included
	DispatcherCores float64 `json:"dispatcher_cores"`
	FrameCores      float64 `json:"bus_cores"`   // busy, of frames
	StoreCores      float64 `json:"store_cores"` // busy, of results and records

	Gateways    int `json:"gateways"`
	Dispatchers int `json:"dispatchers"`
	Buses       int `json:"buses"` // that share nothing: each has a store of its own
	Cells       int `json:"cells"` // in all
	BusServers  int `json:"bus_servers"`
	Stores      int `json:"store_servers"` // beside them; 0: the one cell of a bus keeps the streams too
	Streams     int `json:"results_streams_per_bus"`

	GatewayGB  float64 `json:"gateway_memory_gb"`
	WorkerGB   float64 `json:"worker_memory_gb"`
	ResultsGB  float64 `json:"results_gb_per_bus"` // in one copy, after their age
	FullAfterH float64 `json:"default_results_bytes_full_after_h"`
	GatewayNet float64 `json:"gateway_network_gbit_per_s"` // read and written
	BusNet     float64 `json:"bus_network_gbit_per_s"`
}

const (
	gb        = 1e9
	gbit      = 1e9
	kbOfAGB   = 1e6
	usOfACore = 1e6
	pair      = 2 // where one may be lost
	quorum    = 3 // servers of a store
)

// For is the plan for so many sessions.
func For(f Figures, u Usage, sessions int) Plan {
	n, r := float64(sessions), u.rates()
	p := Plan{
		Sessions: sessions, FramesPerS: n * r.frames, LivesPerS: n * r.lives,
		ResultsS: n * r.results, WritesS: n * r.writes, ReportsS: n * r.reports,
		GatewayGB: n * f[GatewayMemory] / kbOfAGB, WorkerGB: n * f[WorkerMemory] / kbOfAGB,
		GatewayNet: 8 * n * r.frames * f[GatewayIO] / gbit, BusNet: 8 * n * r.frames * f[ClusterIO] / gbit,
	}
	p.GatewayCores = (p.FramesPerS*f[GatewayFrame] + p.LivesPerS*f[GatewayLife]) / usOfACore
	p.WorkerCores = (p.FramesPerS*f[WorkerFrame] + p.LivesPerS*f[WorkerLife]) / usOfACore
	p.DispatcherCores = (p.LivesPerS*f[DispatcherLife] + n*r.renewals*f[RenewalCPU]) / usOfACore
	p.FrameCores = (p.FramesPerS*f[ClusterFrame] + p.LivesPerS*f[ClusterLife]) / usOfACore
	p.StoreCores = (p.ResultsS*f[ResultBus] + (p.WritesS+p.ReportsS)*f[WriteBus]) / usOfACore
	p.Gateways = max(pair, u.servers(p.GatewayCores), ceil(n/gateway.DefaultMaxSessions))
	p.Dispatchers = max(pair, u.servers(p.DispatcherCores))
	p.bus(f, u)
	return p
}

// bus divides frames and streams. Records are in one bucket of each bus and results in a
// bounded number of streams: what does not fit there needs another bus. Within a bus frames
// are divided into cells, and one cell alone keeps its streams itself.
func (p *Plan) bus(f Figures, u Usage) {
	stream := f[Results] * u.Busy
	p.Buses = max(1, ceil(p.WritesS/(f[Writes]*u.Busy)), ceil(p.ResultsS/(stream*subjects.MaxSplit)))
	share := 1 / float64(p.Buses)
	p.Streams = max(1, ceil(share*p.ResultsS/stream))
	servers := max(quorum, u.servers(share*(p.FrameCores+p.StoreCores)))
	cells, stores := 1, 0
	if servers > u.Cell {
		servers = u.servers(share * p.FrameCores)
		cells = ceil(float64(servers) / float64(u.Cell))
		stores = max(quorum, u.servers(share*p.StoreCores))
	}
	p.Cells, p.BusServers, p.Stores = cells*p.Buses, servers*p.Buses, stores*p.Buses
	bytes := share * p.ResultsS * f[ResultStored]
	p.ResultsGB = bytes * u.AgeS / gb
	p.FullAfterH = subjects.DefaultResultsBytes / bytes / 3600
}

// servers have that many busy cores.
func (u Usage) servers(cores float64) int { return ceil(cores / (u.Cores * u.Busy)) }

// ceil forgives what only rounding adds.
func ceil(v float64) int { return int(math.Ceil(v - 1e-9)) }
