package capacity

import (
	"cmp"
	"slices"

	"stenobus/subjects"
)

// Limit is the most sessions that one thing carries, busy as far as the usage allows.
type Limit struct {
	Name     string   `json:"name"`
	Sessions float64  `json:"sessions"`
	Then     string   `json:"then"` // what helps
	From     []string `json:"from"` // figures
}

// Limits are what splits, what splits first being the first.
func Limits(f Figures, u Usage) []Limit {
	r := u.rates()
	server := u.Cores * u.Busy * usOfACore // µs each second
	store := r.results*f[ResultBus] + (r.writes+r.reports)*f[WriteBus]
	cluster := r.frames*f[ClusterFrame] + r.lives*f[ClusterLife] + store
	stream, writes := f[Results]*u.Busy, f[Writes]*u.Busy
	all := []Limit{
		{"one bus server, its frames alone", server / (r.frames * f[BusFrame]), "a cluster of three", []string{BusFrame}},
		{
			"a cluster of three that keeps the streams too", quorum * server / cluster, "more servers",
			[]string{ClusterFrame, ClusterLife, ResultBus, WriteBus},
		},
		{
			"the servers of one cell, frames alone", float64(u.Cell) * server / (cluster - store), "more cells",
			[]string{ClusterFrame, ClusterLife},
		},
		{"one results stream", stream / r.results, "--bus-results-streams", []string{Results}},
		{"as many results streams as there may be", subjects.MaxSplit * stream / r.results, "another bus", []string{Results}},
		{"the bucket of records, which is not split", writes / r.writes, "another bus", []string{Writes}},
		{"the bucket of workers' reports", writes / r.reports, "workers with more slots", []string{Writes}},
	}
	slices.SortStableFunc(all, func(a, b Limit) int { return cmp.Compare(a.Sessions, b.Sessions) })
	return all
}
