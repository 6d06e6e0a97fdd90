module natss-channel/bench/load

go 1.21
