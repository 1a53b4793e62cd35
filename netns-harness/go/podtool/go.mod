module towpath/lab/podtool

go 1.24
