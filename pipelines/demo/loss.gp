# SPDX-License-Identifier: MIT
# The loss of training and of held-out data over the steps: log.tsv to loss.png
set terminal pngcairo size 900,520 font "sans,11"
set output "loss.png"
set datafile separator "\t"
set key top right
set xlabel "optimiser step"
set ylabel "loss per token of the answer"
set grid lc rgb "#dddddd"
set border 3
set tics nomirror out
set logscale y
set autoscale yfix
plot "log.tsv" using "step":"loss" with lines lw 1 lc rgb "#9ab7d3" title "training", \
     "log.tsv" using "step":"eval_loss" with linespoints lw 2 pt 7 ps 0.8 lc rgb "#c0504d" title "held out"
